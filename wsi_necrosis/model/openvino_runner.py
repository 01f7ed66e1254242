"""Run a converted network with OpenVINO on the processor; torch is not needed.

Every calling thread uses a compiled network of its own that computes in one thread, so that results do not depend on
the number of calling threads.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.model.checkpoint import Tensors
from wsi_necrosis.model.spec import CONSTANTS_FILE, GRAPH_FILE

ALIGNMENT = 64  # bytes, of numbers of any type
PRECISION = {"float32": "f32", "bfloat16": "bf16"}
_FIRST_INFERENCE = Lock()  # one for the process, as OpenVINO's set-up is shared by the process


class OpenVinoRunner:
    """A converted network.

    Parameters
    ----------
    folder : Path
        Where `openvino_convert.write_network` put it.
    tensors : mapping
        The checkpoint's weights that it was made with.
    dtype : {"float32", "bfloat16"}
        Number format it computes in.
    """

    def __init__(self, folder: Path, tensors: Tensors, dtype: str) -> None:
        self._core = openvino().Core()
        numbers = weight_bytes(tensors) + (folder / CONSTANTS_FILE).read_bytes()
        self._model = self._core.read_model((folder / GRAPH_FILE).read_bytes(), numbers)
        self._settings = {
            "INFERENCE_PRECISION_HINT": PRECISION[dtype],
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": 1,
            "ENABLE_CPU_PINNING": False,  # else two compiled networks may be pinned to one core
        }
        self._idle: defaultdict[int, list[Any]] = defaultdict(list)  # by number of tiles

    def __call__(
        self, tiles: NDArray[np.uint8], z: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities (n, 3) and gate weights (n, 2), float32, of tiles and their z-scores.

        The first call with a new n compiles the network for it, in a fraction of a second; so does a call while all
        compiled networks for this n are in use. The interpreter's lock is released during inference.
        """
        idle = self._idle[len(tiles)]
        try:
            request = idle.pop()
        except IndexError:
            request = self._compiled(len(tiles))
        inputs = (np.ascontiguousarray(tiles), np.ascontiguousarray(z))
        found = request.infer(inputs, share_inputs=True)
        idle.append(request)
        return found[0], found[1]

    def _compiled(self, n: int) -> Any:
        """An inference request that has run once: two threads must not run their first inference at the same time.

        With OpenVINO 2026.4 they deadlock: one waits for the interpreter's lock, the other holds it and waits for the
        set-up of the first inference.
        """
        with _FIRST_INFERENCE:
            model = self._model.clone()
            model.reshape({at: [n, *list(port.partial_shape)[1:]] for at, port in enumerate(model.inputs)})
            request = self._core.compile_model(model, "CPU", self._settings).create_infer_request()
            tiles, z = (tuple(port.shape) for port in model.inputs)
            request.infer((np.zeros(tiles, np.uint8), np.zeros(z, np.float32)), share_inputs=True)
        return request


def weight_bytes(tensors: Tensors) -> bytes:
    """All weights of a checkpoint one after another, in the order of their names."""
    joined = b"".join(tensors[name].tobytes() for name in sorted(tensors))
    return joined + bytes(-len(joined) % ALIGNMENT)


def openvino() -> Any:
    """Import OpenVINO without its telemetry package, which reports every import to its makers."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # Python's way to block an import
    import openvino as library  # an optional dependency

    return library
