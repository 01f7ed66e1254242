"""Run a network with torch: channels-last, in parts where a GPU's memory is short."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.backend import REFERENCE, Backend
from wsi_necrosis.model.checkpoint import Tensors
from wsi_necrosis.model.network import Network
from wsi_necrosis.model.spec import ModelSpec

Number = TypeVar("Number", np.uint8, np.float32)
log = logging.getLogger(__name__)


class TorchRunner:
    """A network on its device.

    Parameters
    ----------
    network : torch.nn.Module
        From uint8 tiles (n, h, w, 3) and float32 z-scores (n, F) to probabilities (n, 3) and gate weights (n, 2).
    backend : Backend
        Device and number format.
    """

    def __init__(self, network: nn.Module, backend: Backend = REFERENCE) -> None:
        self.backend = backend
        self._on_gpu = backend.device == "cuda"
        self._most: int | None = None  # tiles at a time, once memory was short
        if self._on_gpu and backend.dtype == "float32":
            torch.backends.cudnn.allow_tf32 = False  # TF32 keeps only 10 bits of the mantissa
        self._network = network.eval().to(backend.device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def __call__(
        self, tiles: NDArray[np.uint8], z: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities (n, 3) and gate weights (n, 2), float32, of tiles and their z-scores.

        Where the device's memory is too small for n tiles at a time, half as many are tried, and used from then on;
        the last part is padded, so that all parts have one shape.

        Raises
        ------
        ModelError
            Memory is too small for a single tile.
        """
        while True:
            size = max(1, min(len(tiles), self._most or len(tiles)))
            # `_halve` comes after this block: the error holds tensors in memory until it is dropped.
            with suppress(torch.cuda.OutOfMemoryError):
                return self._in_parts(tiles, z, size)
            self._halve(size)

    def _in_parts(
        self, tiles: NDArray[np.uint8], z: NDArray[np.float32], size: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        starts = range(0, max(1, len(tiles)), size)
        parts = [self._launch(tiles[start : start + size], z[start : start + size], size) for start in starts]
        prob, gate = (
            torch.cat(part)[: len(tiles)].float().cpu().numpy() for part in zip(*parts, strict=True)
        )
        return prob, gate

    def _launch(self, tiles: NDArray[np.uint8], z: NDArray[np.float32], size: int) -> tuple[Tensor, Tensor]:
        """Probabilities and gate weights on the device; a GPU may still be computing them when this returns."""
        missing = -len(tiles) % size
        with torch.inference_mode(), precision(self.backend.device, self.backend.dtype):
            prob, gate = self._network(self._sent(_padded(tiles, missing)), self._sent(_padded(z, missing)))
        return prob, gate

    def _sent(self, array: NDArray[np.uint8] | NDArray[np.float32]) -> Tensor:
        """A copy on the device; to a GPU from pinned memory, so that this thread does not wait for it."""
        tensor = torch.tensor(array)
        if self._on_gpu:
            tensor = tensor.pin_memory()
        return tensor.to(self.backend.device, non_blocking=self._on_gpu)

    def _halve(self, size: int) -> None:
        if size == 1:
            raise ModelError(
                f"the memory of {self.backend.device} is too small for a single tile of this model; end other programs "
                "that use it, or give --device cpu"
            )
        self._most = min(self._most or size, size // 2)  # another thread may have halved it meanwhile
        if self._on_gpu:
            torch.cuda.empty_cache()
        log.warning(
            "the memory of %s is too small for %d tiles at a time; going on with %d, see model.batch_tiles",
            self.backend.device, size, self._most,
        )  # fmt: skip


def _padded(array: NDArray[Number], missing: int) -> NDArray[Number]:
    """`array` with its last row repeated `missing` times."""
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


def compute_dtype(device: str) -> str:
    """Number format of training: bfloat16 on CUDA; float32 elsewhere, for the same bits on one type of processor."""
    return "bfloat16" if device.startswith("cuda") else "float32"


def precision(device: str, dtype: str | None = None) -> AbstractContextManager[Any]:
    """A context in which torch networks on this device compute in `dtype`; by default that of `compute_dtype`."""
    if (dtype or compute_dtype(device)) == "bfloat16":
        return torch.autocast(device, dtype=torch.bfloat16)
    return nullcontext()


def build_network(spec: ModelSpec, stored: Tensors) -> Network:
    """The network with a checkpoint's weights."""
    network = Network.of(spec)
    tensors = {name: torch.from_numpy(array) for name, array in stored.items()}
    _require_fit(network.state_dict(), tensors, spec.name)
    network.load_state_dict(tensors)  # float16 is widened to the network's float32
    return network.eval()


def _require_fit(wanted: Mapping[str, Tensor], stored: Mapping[str, Tensor], name: str) -> None:
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
