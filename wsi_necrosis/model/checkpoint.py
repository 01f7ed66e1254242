"""The self-describing checkpoint: a folder of `model.json`, `model.safetensors` and the converted network.

`model.json` holds everything that a run needs to know and is read without torch. The weights are
float16 in safetensors, which holds numbers and no code; pickles are refused. The description carries
the SHA-256 of the other files, so that they cannot be mixed up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse_safetensors
from safetensors.numpy import save as dump_safetensors

from wsi_necrosis.errors import ModelError
from wsi_necrosis.files import atomic_write, write_text
from wsi_necrosis.model.spec import (
    CHECKPOINT,
    NETWORK_FILES,
    SPEC_FILE,
    WEIGHTS_FILE,
    ModelSpec,
    model_folder,
    spec_adapter,
)
from wsi_necrosis.outside import WEIGHTS_MIB, OutsideError, read_bytes, shortened

Tensors = Mapping[str, NDArray[Any]]


def load_tensors(name_or_folder: str | Path, spec: ModelSpec) -> dict[str, NDArray[Any]]:
    """Weights of a checkpoint, as stored (float16).

    Raises
    ------
    ModelError
        The file is missing, is not the one that `spec` describes, or holds numbers that are not finite.
    """
    path = model_folder(name_or_folder) / WEIGHTS_FILE
    data = _described(path, spec.weights_sha256)
    try:
        tensors: dict[str, NDArray[Any]] = parse_safetensors(data)
    except (
        SafetensorError,
        ValueError,
        TypeError,
        KeyError,
    ) as error:  # the last three: numbers that numpy lacks
        raise ModelError(
            f"{path} is not a safetensors file of numpy's numbers ({shortened(str(error))}); fetch the model again"
        ) from None
    _require_finite(tensors, str(path))
    return tensors


def require_network(name_or_folder: str | Path, spec: ModelSpec) -> None:
    """Check the files of the converted network, where the model has one.

    Raises
    ------
    ModelError
        A file is missing, or is not the one that `spec` describes.
    """
    for name, sha256 in spec.converted.sha256.items() if spec.converted else ():
        _described(model_folder(name_or_folder) / name, sha256)


def save_checkpoint(folder: Path, spec: ModelSpec, tensors: Tensors) -> ModelSpec:
    """Write a checkpoint without a converted network; floating-point tensors are stored as float16.

    Each file is written under a temporary name and renamed; a crash between the two files leaves a pair
    whose hashes disagree, which `load_tensors` refuses.

    Returns
    -------
    ModelSpec
        `spec` with the hash of the weights.

    Raises
    ------
    ModelError
        A weight is not finite, or too large for float16.
    """
    stored = {name: _as_stored(tensor) for name, tensor in tensors.items()}
    _require_finite(stored, f"the model for {folder}")
    data = dump_safetensors(stored)
    spec = replace(spec, weights_sha256=hashlib.sha256(data).hexdigest(), converted=None)
    folder.mkdir(parents=True, exist_ok=True)
    for name in NETWORK_FILES:  # of other weights
        (folder / name).unlink(missing_ok=True)
    write_files(folder, {WEIGHTS_FILE: data}, spec)
    return spec


def write_files(folder: Path, files: Mapping[str, bytes], spec: ModelSpec) -> None:
    """Write files of a checkpoint by name, then the description that has their hashes."""
    text = json.dumps(spec_adapter().dump_python(spec, mode="json"), indent=1, allow_nan=False)
    for name, data in files.items():
        with atomic_write(folder / name) as partial:
            partial.write_bytes(data)
    write_text(folder / SPEC_FILE, text + "\n")


def _described(path: Path, sha256: str) -> bytes:
    """A file's bytes, if they have the hash that the description gives."""
    try:
        data = read_bytes(path, WEIGHTS_MIB)
    except OutsideError as error:
        raise ModelError(f"{path} {error}. {CHECKPOINT}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ModelError(
            f"{path} has SHA-256 {found[:12]}..., its {SPEC_FILE} says {sha256[:12]}...; "
            "it is damaged or belongs to another model; fetch all files of the model again"
        )
    return data


def _as_stored(tensor: NDArray[Any]) -> NDArray[Any]:
    if not np.issubdtype(tensor.dtype, np.floating):
        return np.require(tensor, requirements="C")
    with np.errstate(over="ignore"):  # an overflow becomes infinite, which is refused by name
        return np.require(tensor, dtype=np.float16, requirements="C")


def _require_finite(tensors: Tensors, owner: str) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ModelError(f"{owner}: weight {name!r} is not finite in float16; train the model again")
