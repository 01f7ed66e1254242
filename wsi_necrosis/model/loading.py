"""Load a checkpoint on the backend that is chosen for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from wsi_necrosis.errors import ModelError
from wsi_necrosis.memory import keep_freed_memory
from wsi_necrosis.model.backend import REFERENCE, Backend, preferred_backend, require_backend
from wsi_necrosis.model.backend_check import _compared, _difference, _network, _runner, agreement
from wsi_necrosis.model.checkpoint import load_tensors
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.model.tile_model import TileModel, log
from wsi_necrosis.model.torch_runner import TorchRunner
from wsi_necrosis.settings.run import ModelSettings

# Largest difference of a class probability from torch in float32 on the processor that a backend may make. Other
# orders of sums change the default model by 1e-6; bfloat16 by .044 at most and .003 in the mean on 96 real tiles.
TOLERANCE: Mapping[str, float] = MappingProxyType({"float32": 1e-4, "bfloat16": 0.05})


def choose_backend(settings: ModelSettings) -> Backend:
    """The backend that scores with a model; decided once for a slide, and the same for all workers.

    As `backend.preferred_backend`. On "auto", a model that bfloat16 would change too much keeps float32, and one that
    OpenVINO cannot take, or would change too much, stays with torch.

    Raises
    ------
    UsageError
        This machine has not what was asked for.
    ModelError
        The checkpoint is missing or damaged.
    """
    preferred = preferred_backend(settings, has_backbone=bool(load_spec(settings.name).backbone))
    choices = [preferred]
    if settings.dtype == "auto" and preferred.dtype != "float32":
        choices.append(replace(preferred, dtype="float32"))
    if settings.backend == "auto" and preferred.name != "torch":
        choices.append(replace(choices[-1], name="torch"))
    for backend in choices[:-1]:
        objection = _objection(settings.name, backend)
        if objection is None:
            return backend
        log.warning("model %s does not take %s: %s", settings.name, backend, objection)
    return choices[-1]


def _objection(name_or_folder: str, backend: Backend) -> str | None:
    """Why a backend does not do for a model; None if it does."""
    try:
        difference = agreement(name_or_folder, backend)
    except ModelError as error:
        return str(error)
    allowed = TOLERANCE[backend.dtype]
    return (
        None
        if difference <= allowed
        else f"it changes probabilities by {difference:.2g}, more than {allowed:g}"
    )


def load_model(name_or_folder: str | Path, backend: Backend = REFERENCE) -> TileModel:
    """A shipped model (by name) or a checkpoint folder, on a backend from `choose_backend`.

    Raises
    ------
    ModelError
        The checkpoint is missing or damaged, its weights do not fit its description, or the backend changes its
        probabilities too much.
    UsageError
        This machine has not the backend.
    """
    keep_freed_memory()
    require_backend(backend)
    spec = load_spec(name_or_folder)
    stored = load_tensors(name_or_folder, spec)
    if backend == REFERENCE:
        return TileModel(spec, TorchRunner(_network(spec, stored)))
    with _compared(spec, stored, backend) as folder:
        difference = _difference(folder)
        if difference > TOLERANCE[backend.dtype]:
            raise ModelError(
                f"{backend} changes probabilities of model {spec.name!r} by up to {difference:.2g}, more than the "
                f"{TOLERANCE[backend.dtype]:g} that is allowed; give --set model.backend=torch, and --set "
                "model.dtype=float32"
            )
        return TileModel(spec, _runner(spec, stored, backend, folder))
