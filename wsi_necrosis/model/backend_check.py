"""Compare a backend with torch in float32 on the processor, on fixed tiles, once on a machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsi_necrosis.cache import cached_folder
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import ModelError
from wsi_necrosis.files import write_json
from wsi_necrosis.model.backend import Backend, device_name, require_backend
from wsi_necrosis.model.checkpoint import Tensors, load_tensors
from wsi_necrosis.model.network import Network
from wsi_necrosis.model.openvino_runner import OpenVinoRunner, write_network
from wsi_necrosis.model.spec import ModelSpec, load_spec
from wsi_necrosis.model.tile_model import Runner, TileModel, log
from wsi_necrosis.model.torch_runner import TorchRunner
from wsi_necrosis.provenance import digest
from wsi_necrosis.slides.phantom import phantom_tiles

AGREEMENT_FILE = "agreement.json"


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

    with cached_folder(f"{spec.name}-{backend.name}-{digest(about)}", make) as folder:
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
