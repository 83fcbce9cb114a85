"""Download the detector YuNet: semblante's only use of the network, and only on request."""

from __future__ import annotations

import hashlib
import ssl
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Final

from semblante.errors import ModelError
from semblante.files import user_folder, write_atomically
from semblante.models import YUNET_FILE, YUNET_SHA256, YUNET_URL, check_sha256

_SECONDS: Final = 30.0  # without an answer until it gives up
_MOST_BYTES: Final = 50_000_000


def pull_yunet(source: Path | None = None) -> Path:
    """Download YuNet's file, or copy it from the file `source`, and check it.

    Returns the path where it is kept. Raises `ModelError` if it cannot be read or has another
    sha256; a file that was there before is then kept.
    """
    place = user_folder("models") / YUNET_FILE
    try:
        data = _fetched(YUNET_URL) if source is None else source.read_bytes()
    except (OSError, HTTPException) as error:  # urllib's own errors are OSErrors too
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        if source is not None:
            raise ModelError(f"{source}: cannot be read: {reason}") from None
        if sys.platform == "darwin" and isinstance(reason, ssl.SSLCertVerificationError):
            reason = (
                f"{reason} (Python from python.org can check certificates once its `Install "
                "Certificates.command` was run)"
            )
        raise ModelError(
            f"{YUNET_URL}: cannot be read: {reason}. Without a connection: fetch that file "
            "elsewhere, then `semblante models pull yunet --from FILE`"
        ) from None
    found = hashlib.sha256(data).hexdigest()
    remedy = "the file is damaged, or another than the one that is known to work"
    check_sha256(source or YUNET_URL, found, YUNET_SHA256, remedy)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, lambda beside: beside.write_bytes(data))
    return place


def _fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_SECONDS) as answer:
        data: bytes = answer.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise urllib.error.URLError("more than 50 MB")
    return data
