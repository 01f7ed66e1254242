"""Compare a backend with torch in float32 on the processor, on fixed tiles, once on a machine.

The largest difference, and a converted network, are kept in the user's cache. torch is imported only where they are
missing there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.cache import cached_folder
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.files import write_json
from wsi_necrosis.model.backend import Backend, device_name
from wsi_necrosis.model.checkpoint import Tensors
from wsi_necrosis.model.openvino_runner import OpenVinoRunner
from wsi_necrosis.model.spec import ModelSpec
from wsi_necrosis.model.tile_model import Runner, TileModel
from wsi_necrosis.provenance import digest

# Largest difference of a class probability from torch in float32 on the processor that is accepted. A different order
# of sums changes the shipped models by 2e-6. On 144 real crops bfloat16 changes `default` by .11 at most and .0009 in
# the mean, and no class; `fast` by .05 and .001, and one class. The fixed tiles are fewer, and change less.
TOLERANCE: Mapping[str, float] = MappingProxyType({"float32": 1e-4, "bfloat16": 0.05})
DIFFERENCE_FILE = "agreement.json"
log = logging.getLogger(__name__)


@contextmanager
def compared(spec: ModelSpec, tensors: Tensors, backend: Backend) -> Iterator[tuple[float, Path]]:
    """Largest difference of a class probability from `REFERENCE`, and the folder that holds a converted network.

    Measured on the first call on a machine; later calls read it.

    Raises
    ------
    ModelError
        OpenVINO cannot convert the network.
    """
    about = {
        "model": spec.fingerprint,
        "backend": asdict(backend),
        "device": device_name(backend.device),
        "versions": {name: version(name) for name in sorted({"wsi-necrosis", "torch", "timm", backend.name})},
    }

    def make(folder: Path) -> None:
        difference = _measure(spec, tensors, backend, folder)
        write_json(folder / DIFFERENCE_FILE, {"largest_difference": difference, "about": about})

    with cached_folder(f"{spec.name}-{backend.name}-{digest(about)}", make) as folder:
        found = json.loads((folder / DIFFERENCE_FILE).read_text(encoding="utf-8"))
        yield float(found["largest_difference"]), folder


def runner_on(backend: Backend, spec: ModelSpec, tensors: Tensors, folder: Path) -> Runner:
    """A network on a backend; `folder` holds the converted network of OpenVINO."""
    if backend.name == "openvino":
        return OpenVinoRunner(folder, backend.dtype)
    from wsi_necrosis.model.torch_runner import (  # torch and timm take three seconds
        TorchRunner,
        build_network,
    )

    return TorchRunner(build_network(spec, tensors), backend)


def fixed_tiles(spec: ModelSpec) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Tiles and features on which backends are compared: synthetic tissue and glass, random radiomics within `clip`."""
    tiles, scaled = _synthetic_tiles(spec.tile_px), spec.standardise
    z = np.random.default_rng(0).standard_normal((len(tiles), len(scaled.names)))
    inside = np.clip(z, -scaled.clip, scaled.clip)
    return tiles, np.asarray(scaled.centre) + inside * np.asarray(scaled.scale)


def _measure(spec: ModelSpec, tensors: Tensors, backend: Backend, folder: Path) -> float:
    """Largest difference from `REFERENCE`; a converted network is written to the folder."""
    from wsi_necrosis.model.torch_runner import TorchRunner, build_network  # as in `runner_on`

    network = build_network(spec, tensors)
    if backend.name == "openvino":
        from wsi_necrosis.model.openvino_convert import write_network  # needs torch

        log.info("converting model %s for OpenVINO, once on a machine", spec.name)
        write_network(network, folder, spec.tile_px, len(spec.feature_names))
    reference, other = TorchRunner(network), runner_on(backend, spec, tensors, folder)
    probs = [TileModel(spec, run).predict(*fixed_tiles(spec)).prob for run in (reference, other)]
    difference = float(np.abs(probs[1] - probs[0]).max())
    log.info("%s changes probabilities of model %s by up to %.2g", backend, spec.name, difference)
    return difference


@cache
def _synthetic_tiles(tile_px: int) -> NDArray[np.uint8]:
    from wsi_necrosis.slides.phantom import phantom_tiles  # needs scipy, which takes half a second to import

    rng = np.random.default_rng(0)
    return np.concatenate([phantom_tiles(name, 4, tile_px, rng) for name in (*CLASSES, "glass")])
