"""Tensors and what is known of them in one file, written whole or not at all; never pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from semblante.errors import ModelError
from semblante.files import write_atomically


def save_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Tensors and, in the same file's header, a JSON description of them.

    Raises `ModelError` where they cannot be written, on a full disk say; an older file stays.
    """
    # Copies: safetensors stores no two names for the same memory, as shared layers have.
    contiguous = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    metadata = {"semblante": json.dumps(about)}
    try:
        # Not by save_file(), whose files nobody but their owner may read.
        data = safetensors.torch.save(contiguous, metadata)
        write_atomically(path, lambda beside: beside.write_bytes(data))
    except (OSError, SafetensorError) as error:
        kept = ", what was saved before is still there" if path.exists() else ""
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{path}: cannot be written{kept}: {reason}") from None


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote; raises `ModelError` for a missing or damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies: views of the file would keep it open, and Windows replaces no open file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        about = json.loads(metadata["semblante"])
        if not isinstance(about, dict):
            raise ValueError("its description is no object")
        return tensors, about
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such file") from None
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: not a file of semblante's training: {error}") from None


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each name with `prefix` and a dot before it."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of what `prefixed` names begin with `prefix`, the tensors under their own names."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }
