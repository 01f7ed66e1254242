"""Convert a network from torch to OpenVINO."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.openvino_runner import NETWORK_FILE, openvino

EXAMPLE_TILES = 2  # more than one, so that the batch size is not traced as a constant


def write_network(network: nn.Module, folder: Path, tile_px: int, features: int) -> None:
    """Convert a network from torch, and write it for `OpenVinoRunner`; it takes any number of tiles.

    Parameters
    ----------
    network : torch.nn.Module
        From uint8 tiles (n, tile_px, tile_px, 3) and float32 z-scores (n, features) to probabilities (n, 3) and
        gate weights (n, 2).
    folder : Path
        Receives the files.

    Raises
    ------
    ModelError
        OpenVINO cannot convert it.
    """
    tiles = torch.zeros(EXAMPLE_TILES, tile_px, tile_px, 3, dtype=torch.uint8)
    z = torch.zeros(EXAMPLE_TILES, features)
    try:
        with torch.inference_mode(), _root_logger_restored(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes traced as constants; `backend_check` tests the result
            traced = torch.jit.trace(network, (tiles, z), check_trace=False)  # type: ignore[no-untyped-call]
            model = openvino().convert_model(
                traced, example_input=(tiles, z), input=[(-1, *tiles.shape[1:]), (-1, features)]
            )
    except Exception as error:  # the converter raises errors of many types
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"OpenVINO cannot convert this model ({type(error).__name__}: {reason}); give --set model.backend=torch"
        ) from error
    openvino().save_model(model, folder / NETWORK_FILE, compress_to_fp16=False)


@contextmanager
def _root_logger_restored() -> Iterator[None]:
    """Restore the root logger afterwards: the converter mutes it, and leaves it muted where it fails."""
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters[:], root.handlers[:] = filters, handlers
