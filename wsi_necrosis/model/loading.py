"""Load a checkpoint on the backend that is chosen for it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from wsi_necrosis.errors import ModelError
from wsi_necrosis.memory import keep_freed_memory
from wsi_necrosis.model.backend import REFERENCE, Backend, has_torch, preferred_backend, require_backend
from wsi_necrosis.model.backend_check import TOLERANCE, measured, remembered, runner_on
from wsi_necrosis.model.checkpoint import Tensors, load_tensors, require_network
from wsi_necrosis.model.spec import ModelSpec, load_spec, model_folder
from wsi_necrosis.model.tile_model import TileModel
from wsi_necrosis.settings.run import ModelSettings

log = logging.getLogger(__name__)


def choose_backend(settings: ModelSettings) -> Backend:
    """The backend that a model runs on; decided once for a slide, and the same for all workers.

    As `backend.preferred_backend`. On "auto", a model that bfloat16 would change too much keeps float32, and one that
    OpenVINO cannot convert, or would change too much, stays with torch, where that is installed.

    Raises
    ------
    UsageError
        What was asked for is not available on this machine.
    ModelError
        The checkpoint is missing or damaged.
    """
    preferred = preferred_backend(settings, has_backbone=bool(load_spec(settings.name).backbone))
    choices = [preferred]
    if settings.dtype == "auto" and preferred.dtype != "float32":
        choices.append(replace(preferred, dtype="float32"))
    if settings.backend == "auto" and preferred.name != "torch" and has_torch():
        choices.append(replace(choices[-1], name="torch"))
    for backend in choices[:-1]:
        reason = _reason_against(settings.name, backend)
        if reason is None:
            return backend
        log.warning("model %s is not run on %s: %s", settings.name, backend, reason)
    return choices[-1]


def load_model(name_or_folder: str | Path, backend: Backend = REFERENCE) -> TileModel:
    """A shipped model (by name) or a checkpoint folder, on a backend from `choose_backend`.

    Raises
    ------
    ModelError
        The checkpoint is missing or damaged, its weights do not fit its description, or the backend changes its
        probabilities too much.
    UsageError
        The backend is not available on this machine.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> model = wn.load_model("phantom")
    >>> model.spec.tile_px
    32
    """
    keep_freed_memory()
    require_backend(backend)
    spec, tensors = _opened(name_or_folder)
    if backend == REFERENCE and spec.converted is None:
        return TileModel(spec, runner_on(backend, spec, tensors, Path()))
    folder = model_folder(name_or_folder)
    difference, runner = measured(spec, tensors, backend, folder)
    if not difference <= TOLERANCE[backend.dtype]:
        raise ModelError(
            f"{backend} changes probabilities of model {spec.name!r} by up to {difference:.2g}, more than the "
            f"{TOLERANCE[backend.dtype]:g} that is allowed; {_way_out(spec, backend)}"
        )
    return TileModel(spec, runner or runner_on(backend, spec, tensors, folder))


def largest_difference(name_or_folder: str | Path, backend: Backend) -> float:
    """Largest difference of a class probability from `REFERENCE`, on fixed tiles.

    Raises
    ------
    ModelError, UsageError
        As `load_model`, but for the difference.
    """
    require_backend(backend)
    spec, tensors = _opened(name_or_folder)
    return measured(spec, tensors, backend, model_folder(name_or_folder))[0]


def _opened(name_or_folder: str | Path) -> tuple[ModelSpec, Tensors]:
    """Description and weights of a checkpoint whose files are all whole."""
    spec = load_spec(name_or_folder)
    require_network(name_or_folder, spec)
    return spec, load_tensors(name_or_folder, spec)


def _way_out(spec: ModelSpec, backend: Backend) -> str:
    if backend == REFERENCE and spec.converted:
        made_with = ", ".join(f"{name} {version}" for name, version in spec.converted.made_with.items())
        return f"install the versions that the model was made with: {made_with}"
    return "give --set model.backend=torch, and --set model.dtype=float32"


def _reason_against(name_or_folder: str, backend: Backend) -> str | None:
    """Why a backend is unsuitable for a model; None if it is suitable."""
    try:
        require_backend(backend)
        difference = remembered(*_opened(name_or_folder), backend, model_folder(name_or_folder))
    except ModelError as error:
        return str(error)
    if difference <= TOLERANCE[backend.dtype]:
        return None
    return f"it changes probabilities by {difference:.2g}, more than {TOLERANCE[backend.dtype]:g}"
