"""Compare a backend with torch in float32 on the processor, on fixed tiles, whenever a process loads a model.

torch's answers lie in the checkpoint. For a checkpoint without them they are computed here, and its network is
converted; that network is kept in the user's cache, and believed only as far as it answers as torch does.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.cache import cached_folder, forget
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import ModelError
from wsi_necrosis.files import write_json
from wsi_necrosis.model.backend import TORCH, Backend, device_name, require_torch
from wsi_necrosis.model.checkpoint import Tensors
from wsi_necrosis.model.openvino_runner import OpenVinoRunner
from wsi_necrosis.model.spec import ModelSpec
from wsi_necrosis.model.tile_model import Runner, TileModel
from wsi_necrosis.outside import shortened
from wsi_necrosis.provenance import digest, versions_of

# Largest difference of a class probability from torch in float32 on the processor that is accepted. A different order
# of sums changes the shipped models by 2e-6. On 144 real crops bfloat16 changes `default` by .11 at most and .0009 in
# the mean, and no class; `fast` by .05 and .001, and one class. The fixed tiles are fewer, and change less.
TOLERANCE: Mapping[str, float] = MappingProxyType({"float32": 1e-4, "bfloat16": 0.05})
DIFFERENCE_FILE = "agreement.json"
CACHE_VERSION = 3  # raised whenever converted networks are written otherwise
_MEASURED: dict[tuple[str, Backend], float] = {}  # differences of networks whose files have known hashes
log = logging.getLogger(__name__)


def measured(
    spec: ModelSpec, tensors: Tensors, backend: Backend, checkpoint: Path
) -> tuple[float, Runner | None]:
    """Largest difference of a class probability from torch's answers, and the very network that gave it.

    A network that the checkpoint holds is measured once in a process, since its files have the hashes that the
    description gives. One from the cache is measured whenever it is read, as whoever could write there could forge it;
    one that answers otherwise is converted again.

    Returns
    -------
    (float, Runner or None)
        None where it was measured before in this process.

    Raises
    ------
    ModelError
        OpenVINO cannot convert the network, or cannot read the checkpoint's.
    MissingExtraError
        torch, which is needed for a checkpoint without a converted network, is not installed.
    """
    if spec.converted is None:
        return _measured_here(spec, tensors, backend)
    key = spec.fingerprint, backend
    if key in _MEASURED:
        return _MEASURED[key], None
    try:
        runner = runner_on(backend, spec, tensors, checkpoint)
        _MEASURED[key] = _difference(spec, backend, runner, np.asarray(spec.converted.answers, np.float32))
    except RuntimeError as error:  # OpenVINO's, for a graph that is none
        raise ModelError(
            f"{backend} cannot run the network in {checkpoint} ({shortened(str(error))}); convert it again"
        ) from None
    return _MEASURED[key], runner


def remembered(spec: ModelSpec, tensors: Tensors, backend: Backend, checkpoint: Path) -> float:
    """As `measured`, but once on a machine: the figure that the cache holds, by which a backend is chosen.

    It may be forged; a backend that is chosen by it is measured all the same when the model is loaded.
    """
    about = {
        "version": CACHE_VERSION,
        "model": spec.fingerprint,
        "backend": asdict(backend),
        "device": device_name(backend.device),
        "versions": versions_of(("wsi-necrosis", "openvino", *TORCH)),
    }

    def make(folder: Path) -> None:
        found = measured(spec, tensors, backend, checkpoint)[0]
        write_json(folder / DIFFERENCE_FILE, {"largest_difference": found, "about": about})

    with cached_folder(digest(about), make) as folder:
        found = json.loads((folder / DIFFERENCE_FILE).read_text(encoding="utf-8"))
    return float(found["largest_difference"])


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
    tiles, scaled = painted_tiles(spec.tile_px), spec.standardise
    z = _frozen_stream().standard_normal((len(tiles), len(scaled.names)))
    inside = np.clip(z, -scaled.clip, scaled.clip)
    return tiles, np.asarray(scaled.centre) + inside * np.asarray(scaled.scale)


def answers(spec: ModelSpec, run: Runner) -> NDArray[np.float32]:
    """Class probabilities (n, 3) of the fixed tiles."""
    return TileModel(spec, run).predict(*fixed_tiles(spec)).prob


def _measured_here(spec: ModelSpec, tensors: Tensors, backend: Backend) -> tuple[float, Runner]:
    """As `measured`, for a checkpoint without a converted network: torch answers now."""
    require_torch(
        f"model {spec.name!r}, which holds no converted network,",
        otherwise=", or convert it where they are: wsi-necrosis models convert FOLDER",
    )
    from wsi_necrosis.model.torch_runner import TorchRunner, build_network  # as in `runner_on`

    network = build_network(spec, tensors)
    expected = answers(spec, TorchRunner(network))
    if backend.name != "openvino":
        runner: Runner = TorchRunner(network, backend)
        return _difference(spec, backend, runner, expected), runner
    key = digest(
        {
            "version": CACHE_VERSION,
            "model": spec.fingerprint,
            "versions": versions_of(("wsi-necrosis", "openvino", *TORCH)),
        }
    )

    def convert(folder: Path) -> None:
        from wsi_necrosis.model.openvino_convert import write_network  # needs torch

        log.info("converting model %s for OpenVINO, once on a machine", spec.name)
        write_network(network, tensors, folder, spec.tile_px, len(spec.feature_names))

    try:
        difference, runner = _from_cache(spec, tensors, backend, expected, (key, convert))
    except RuntimeError as error:  # of OpenVINO, for a graph that is none
        log.warning(
            "the converted network of model %s in the cache is none: %s", spec.name, shortened(str(error))
        )
    else:
        if difference <= TOLERANCE[backend.dtype]:
            return difference, runner
        log.warning("the converted network of model %s in the cache answers otherwise than torch", spec.name)
    forget(key)
    return _from_cache(spec, tensors, backend, expected, (key, convert))


def _from_cache(
    spec: ModelSpec,
    tensors: Tensors,
    backend: Backend,
    expected: NDArray[np.float32],
    made: tuple[str, Callable[[Path], None]],
) -> tuple[float, Runner]:
    with cached_folder(*made) as folder:
        runner = OpenVinoRunner(folder, tensors, backend.dtype)
    return _difference(spec, backend, runner, expected), runner


def _difference(spec: ModelSpec, backend: Backend, runner: Runner, expected: NDArray[np.float32]) -> float:
    found = answers(spec, runner)
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
def painted_tiles(tile_px: int) -> NDArray[np.uint8]:
    """Four tiles of each class and of glass, uint8 (`spec.FIXED_TILES`, tile_px, tile_px, 3)."""
    from wsi_necrosis.slides.phantom import phantom_tiles  # needs scipy, which takes half a second to import

    rng = _frozen_stream()
    return np.concatenate([phantom_tiles(name, 4, tile_px, rng) for name in (*CLASSES, "glass")])
