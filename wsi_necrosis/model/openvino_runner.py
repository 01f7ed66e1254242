"""Run a converted network with OpenVINO on the processor; torch is not needed.

Every thread that asks gets a compiled network of its own with one thread inside, so that results do not depend on
how many ask, and two of them do not share a core.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

NETWORK_FILE = "network.xml"
PRECISION = {"float32": "f32", "bfloat16": "bf16"}
_FIRST_ANSWER = Lock()  # of the process, as what it guards is


class OpenVinoRunner:
    """A converted network.

    Parameters
    ----------
    folder : Path
        Where `openvino_convert.write_network` put it.
    dtype : {"float32", "bfloat16"}
        What it computes in.
    """

    def __init__(self, folder: Path, dtype: str) -> None:
        self._core = openvino().Core()
        self._model = self._core.read_model(folder / NETWORK_FILE)
        self._settings = {
            "INFERENCE_PRECISION_HINT": PRECISION[dtype],
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": 1,
            "ENABLE_CPU_PINNING": False,  # else two of them may be pinned to one core
        }
        self._idle: defaultdict[int, list[Any]] = defaultdict(list)  # by number of tiles

    def __call__(
        self, tiles: NDArray[np.uint8], z: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities (n, 3) and gate weights (n, 2), float32, of tiles and their z-scores.

        The first call with another n compiles for this number, in a fraction of a second; so does one that comes
        while all others are busy. The interpreter's lock is released meanwhile.
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
        """A request that has answered once: what OpenVINO sets up with its first answer may not be met by two threads.

        Seen with 2026.4: both wait for ever, one for the interpreter's lock and one, holding it, for the set-up.
        """
        with _FIRST_ANSWER:
            model = self._model.clone()
            model.reshape({at: [n, *list(port.partial_shape)[1:]] for at, port in enumerate(model.inputs)})
            request = self._core.compile_model(model, "CPU", self._settings).create_infer_request()
            tiles, z = (tuple(port.shape) for port in model.inputs)
            request.infer((np.zeros(tiles, np.uint8), np.zeros(z, np.float32)), share_inputs=True)
        return request


def openvino() -> Any:
    """The library; without its telemetry, which tells its makers of every import unless it is missing."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # Python's way to block an import
    import openvino as library  # an extra

    return library
