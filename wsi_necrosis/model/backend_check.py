"""Compare a backend with torch in float32 on the processor, on fixed tiles, once on a machine.

torch's answers lie in the checkpoint. For a checkpoint without them they are computed here, and its network is
converted. The largest difference, and that network, are kept in the user's cache.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.cache import cached_folder
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import ModelError
from wsi_necrosis.files import write_json
from wsi_necrosis.model.backend import TORCH, Backend, device_name, require_torch
from wsi_necrosis.model.checkpoint import Tensors
from wsi_necrosis.model.openvino_runner import OpenVinoRunner
from wsi_necrosis.model.spec import ModelSpec
from wsi_necrosis.model.tile_model import Runner, TileModel
from wsi_necrosis.provenance import digest, versions_of

# Largest difference of a class probability from torch in float32 on the processor that is accepted. A different order
# of sums changes the shipped models by 2e-6. On 144 real crops bfloat16 changes `default` by .11 at most and .0009 in
# the mean, and no class; `fast` by .05 and .001, and one class. The fixed tiles are fewer, and change less.
TOLERANCE: Mapping[str, float] = MappingProxyType({"float32": 1e-4, "bfloat16": 0.05})
DIFFERENCE_FILE = "agreement.json"
CACHE_VERSION = 2  # raised whenever converted networks are written otherwise
log = logging.getLogger(__name__)


@contextmanager
def compared(
    spec: ModelSpec, tensors: Tensors, backend: Backend, checkpoint: Path
) -> Iterator[tuple[float, Path]]:
    """Largest difference of a class probability from `REFERENCE`, and the folder that holds a converted network.

    Measured on the first call on a machine; later calls read it.

    Raises
    ------
    ModelError
        OpenVINO cannot convert the network.
    MissingExtraError
        torch, which is needed for a checkpoint without a converted network, is not installed.
    """
    needed = {"openvino"} if backend.name == "openvino" and spec.converted else {backend.name, *TORCH}
    about = {
        "version": CACHE_VERSION,
        "model": spec.fingerprint,
        "backend": asdict(backend),
        "device": device_name(backend.device),
        "versions": versions_of(["wsi-necrosis", *sorted(needed)]),
    }

    def make(folder: Path) -> None:
        difference = _measure(spec, tensors, backend, checkpoint if spec.converted else folder)
        write_json(folder / DIFFERENCE_FILE, {"largest_difference": difference, "about": about})

    with cached_folder(f"{spec.name}-{backend.name}-{digest(about)}", make) as folder:
        found = json.loads((folder / DIFFERENCE_FILE).read_text(encoding="utf-8"))
        yield float(found["largest_difference"]), checkpoint if spec.converted else folder


def runner_on(backend: Backend, spec: ModelSpec, tensors: Tensors, folder: Path) -> Runner:
    """A network on a backend; `folder` holds the converted network of OpenVINO."""
    if backend.name == "openvino":
        return OpenVinoRunner(folder, tensors, backend.dtype)
    from wsi_necrosis.model.torch_runner import (  # torch and timm take three seconds
        TorchRunner,
        build_network,
    )

    return TorchRunner(build_network(spec, tensors), backend)


def fixed_tiles(spec: ModelSpec) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Tiles and features on which backends are compared: synthetic tissue and glass, random radiomics within `clip`."""
    tiles, scaled = _synthetic_tiles(spec.tile_px), spec.standardise
    z = _frozen_stream().standard_normal((len(tiles), len(scaled.names)))
    inside = np.clip(z, -scaled.clip, scaled.clip)
    return tiles, np.asarray(scaled.centre) + inside * np.asarray(scaled.scale)


def answers(spec: ModelSpec, run: Runner) -> NDArray[np.float32]:
    """Class probabilities (n, 3) of the fixed tiles."""
    return TileModel(spec, run).predict(*fixed_tiles(spec)).prob


def _measure(spec: ModelSpec, tensors: Tensors, backend: Backend, folder: Path) -> float:
    """Largest difference from `REFERENCE`; a network is converted into the folder where the checkpoint has none."""
    if spec.converted:
        expected = np.asarray(spec.converted.answers, np.float32)
    else:
        require_torch(
            f"model {spec.name!r}, which holds no converted network,",
            otherwise=", or convert it where they are: wsi-necrosis models convert FOLDER",
        )
        from wsi_necrosis.model.torch_runner import TorchRunner, build_network  # as in `runner_on`

        network = build_network(spec, tensors)
        expected = answers(spec, TorchRunner(network))
        if backend.name == "openvino":
            from wsi_necrosis.model.openvino_convert import write_network  # needs torch

            log.info("converting model %s for OpenVINO, once on a machine", spec.name)
            write_network(network, tensors, folder, spec.tile_px, len(spec.feature_names))
    found = answers(spec, runner_on(backend, spec, tensors, folder))
    if expected.shape != found.shape:
        raise ModelError(
            f"model {spec.name!r} holds answers for {len(expected)} tiles, not {len(found)}; convert it again"
        )
    difference = float(np.abs(found - expected).max())
    log.info("%s changes probabilities of model %s by up to %.2g", backend, spec.name, difference)
    return difference


def _frozen_stream() -> np.random.RandomState:
    """Random numbers that no release of NumPy changes, as a checkpoint holds the answers to tiles made of them."""
    return np.random.RandomState(0)  # the stream of the newer Generator may change


@cache
def _synthetic_tiles(tile_px: int) -> NDArray[np.uint8]:
    from wsi_necrosis.slides.phantom import phantom_tiles  # needs scipy, which takes half a second to import

    rng = _frozen_stream()
    return np.concatenate([phantom_tiles(name, 4, tile_px, rng) for name in (*CLASSES, "glass")])
