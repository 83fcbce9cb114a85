"""Saves and loads tensors with a JSON description in one file: atomically, and without pickle."""

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
    """Write tensors and, in the header of the same file, `about` as JSON.

    Raises `ModelError` if the file cannot be written, for instance because the disk is full; an
    older file then stays as it was.
    """
    # Copies: safetensors refuses two names for the same memory, which shared layers have.
    contiguous = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    metadata = {"semblante": json.dumps(about)}
    try:
        # Not with save_file(): only the owner may read the files it writes.
        data = safetensors.torch.save(contiguous, metadata)
        write_atomically(path, lambda beside: beside.write_bytes(data))
    except (OSError, SafetensorError) as error:
        kept = ", what was saved before is still there" if path.exists() else ""
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{path}: cannot be written{kept}: {reason}") from None


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the description that `save_tensors` wrote; raises `ModelError` if the file is
    missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies: views of the file would keep it open, and Windows cannot replace an open file.
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
    """The same tensors, with `prefix` and a dot before each name."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix` and a dot, which are removed from the names."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def brief(error: Exception) -> str:
    """An error of torch's, which may take many lines, in one short line."""
    return f"{type(error).__name__} {' '.join(str(error).split())[:120]}"
