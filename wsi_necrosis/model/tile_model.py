"""A model that scores tiles: a checkpoint, on the backend that computes its network.

A backend other than torch in float32 on the processor is compared with it once, on fixed tiles, and refused where it
changes probabilities too much. What it differs by, and a converted network, are kept in the user's cache.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsi_necrosis.cache import kept
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import ModelError
from wsi_necrosis.files import write_json
from wsi_necrosis.memory import keep_freed_memory
from wsi_necrosis.model.backend import REFERENCE, Backend, device_name, preferred_backend, require_backend
from wsi_necrosis.model.checkpoint import ModelSpec, Tensors, load_spec, load_tensors
from wsi_necrosis.model.network import Network
from wsi_necrosis.model.openvino_runner import OpenVinoRunner, write_network
from wsi_necrosis.model.torch_runner import TorchRunner
from wsi_necrosis.provenance import digest
from wsi_necrosis.settings.loading import ModelSettings
from wsi_necrosis.slides.phantom import phantom_tiles

# Largest difference of a class probability from torch in float32 on the processor that a backend may make. Other
# orders of sums change the default model by 1e-6; bfloat16 by .044 at most and .003 in the mean on 96 real tiles.
TOLERANCE: Mapping[str, float] = MappingProxyType({"float32": 1e-4, "bfloat16": 0.05})
AGREEMENT_FILE = "agreement.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """What the model says of n tiles.

    Attributes
    ----------
    prob : float32 array (n, 3)
        Calibrated probabilities in the order of `classes.CLASSES`; each row sums to 1.
    gate : float32 array (n, 2)
        Weight of the image and of the radiomics branch; each row sums to 1. NaN where branches are joined
        without weights.
    novelty : float32 array (n,)
        Distance from the training tiles, over the model's own limit: above 1 a tile is unusual. 0 from a
        model that does not measure it.
    """

    prob: NDArray[np.float32]
    gate: NDArray[np.float32]
    novelty: NDArray[np.float32]


class Runner(Protocol):
    """A network on a backend."""

    def __call__(
        self, tiles: NDArray[np.uint8], z: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities (n, 3) before calibration, and gate weights (n, 2), of tiles and z-scores (n, F)."""


class TileModel:
    """A model on its backend, ready to score tiles.

    Attributes
    ----------
    spec : ModelSpec
        What it is.
    run : Runner
        Its network, on the backend that computes it.
    """

    def __init__(self, spec: ModelSpec, run: Runner) -> None:
        self.spec = spec
        self.run = run

    def predict(self, tiles: NDArray[np.uint8], features: NDArray[np.float64]) -> Prediction:
        """Score tiles.

        Parameters
        ----------
        tiles : uint8 array (n, tile_px, tile_px, 3)
            RGB at the model's mpp.
        features : float64 array (n, F)
            Radiomics of the same tiles, unscaled, in the order of `spec.feature_names`. A missing
            value (NaN) counts as the training median.

        Returns
        -------
        Prediction
            float32 whatever the backend computes in. On one processor type a batch of the same shape
            and content gives the same bits, in any thread.

        Raises
        ------
        ModelError
            Tiles or features have not the shape that the model was trained on.
        """
        self._check(tiles, features)
        z = self.spec.standardise.apply(features).astype(np.float32)
        prob, gate = self.run(tiles, z)
        novelty = self.spec.novelty
        unlike = np.zeros(len(tiles), np.float32) if novelty is None else novelty.of(tiles)
        return Prediction(self.spec.calibration.apply(prob), gate, unlike)

    def _check(self, tiles: NDArray[np.uint8], features: NDArray[np.float64]) -> None:
        n, side = len(tiles), self.spec.tile_px
        if tiles.dtype != np.uint8 or tiles.shape != (n, side, side, 3):
            raise ModelError(
                f"model {self.spec.name!r} takes uint8 tiles of {side} x {side} px in RGB, "
                f"got {tiles.dtype} {tiles.shape}"
            )
        if features.shape != (n, len(self.spec.feature_names)):
            raise ModelError(
                f"model {self.spec.name!r} takes {len(self.spec.feature_names)} features for each of {n} tiles, "
                f"got {features.shape}; compute them with its own recipe"
            )


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


def agreement(name_or_folder: str | Path, backend: Backend) -> float:
    """Largest difference of a class probability from `REFERENCE`, on fixed tiles; measured once on a machine.

    Raises
    ------
    ModelError, UsageError
        As `load_model`, but for the difference.
    """
    require_backend(backend)
    spec = load_spec(name_or_folder)
    with _compared(spec, load_tensors(name_or_folder, spec), backend) as folder:
        return _difference(folder)


def fixed_tiles(spec: ModelSpec) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Tiles and features on which backends are compared: painted tissue and glass, and any radiomics in range."""
    tiles, scaled = _painted(spec.tile_px), spec.standardise
    z = np.random.default_rng(0).standard_normal((len(tiles), len(scaled.names)))
    inside = np.clip(z, -scaled.clip, scaled.clip)
    return tiles, np.asarray(scaled.centre) + inside * np.asarray(scaled.scale)


@cache
def _painted(tile_px: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    return np.concatenate([phantom_tiles(name, 4, tile_px, rng) for name in (*CLASSES, "glass")])


@contextmanager
def _compared(spec: ModelSpec, stored: Tensors, backend: Backend) -> Iterator[Path]:
    """A kept folder with what a backend differs by, and the network where it was converted."""
    about = {
        "model": spec.fingerprint,
        "backend": asdict(backend),
        "device": device_name(backend.device),
        "versions": {name: version(name) for name in sorted({"wsi-necrosis", "torch", "timm", backend.name})},
    }

    def make(folder: Path) -> None:
        network = _network(spec, stored)
        if backend.name == "openvino":
            log.info("converting model %s for OpenVINO, once on a machine", spec.name)
            write_network(network, folder, spec.tile_px, len(spec.feature_names))
        reference, other = TorchRunner(network), _runner(spec, stored, backend, folder)
        probs = [TileModel(spec, run).predict(*fixed_tiles(spec)).prob for run in (reference, other)]
        difference = float(np.abs(probs[1] - probs[0]).max())
        log.info("%s changes probabilities of model %s by up to %.2g", backend, spec.name, difference)
        write_json(folder / AGREEMENT_FILE, {"largest_difference": difference, "about": about})

    with kept(f"{spec.name}-{backend.name}-{digest(about)}", make) as folder:
        yield folder


def _difference(folder: Path) -> float:
    return float(json.loads((folder / AGREEMENT_FILE).read_text(encoding="utf-8"))["largest_difference"])


def _runner(spec: ModelSpec, stored: Tensors, backend: Backend, folder: Path) -> Runner:
    if backend.name == "openvino":
        return OpenVinoRunner(folder, backend.dtype)
    return TorchRunner(_network(spec, stored), backend)


def _network(spec: ModelSpec, stored: Tensors) -> Network:
    """The network with a checkpoint's weights."""
    network = Network.of(spec)
    tensors = {name: torch.from_numpy(array) for name, array in stored.items()}
    _require_fit(network.state_dict(), tensors, spec.name)
    network.load_state_dict(tensors)  # float16 is widened to the network's float32
    return network.eval()


def _require_fit(wanted: dict[str, Tensor], stored: dict[str, Tensor], name: str) -> None:
    faults = [f"{key} is missing" for key in wanted if key not in stored]
    faults += [f"{key} is unexpected" for key in sorted(stored) if key not in wanted]
    faults += [
        f"{key} has shape {tuple(stored[key].shape)}, not {tuple(wanted[key].shape)}"
        for key in wanted
        if key in stored and stored[key].shape != wanted[key].shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ModelError(
            f"the weights of model {name!r} do not fit its description: {'; '.join(faults[:3])}{more}; "
            "fetch the model again, or install the timm version named in its model.json"
        )
