"""`heatmap.ome.zarr`: the heatmap as OME-Zarr 0.5, for napari, QuPath and Fiji.

Coordinates are micrometres in the frame of the whole level 0: its first pixel's centre lies at 0, and
the slide's bounds are not subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from wsi_necrosis.classes import NON_VIABLE, TUMOUR_CLASSES
from wsi_necrosis.files import atomic_write
from wsi_necrosis.quantify.heatmap import CHANNELS, Heatmap, pyramid
from wsi_necrosis.quantify.palette import PALETTE

VERSION = "0.5"
LABELS = "classes"
CHUNK_CELLS = 1024
NON_VIABLE_COLOUR = (128, 128, 128)  # its dark grey is invisible on the black background of viewers
UNCERTAINTY_COLOUR = (255, 255, 255)


def write_ome_zarr(path: Path, heatmap: Heatmap, name: str) -> None:
    """Write probabilities, uncertainty and class labels, with a pyramid of each.

    Parameters
    ----------
    path : Path
        The folder to write; one that exists is replaced.
    heatmap : Heatmap
        What to write; NaN stays NaN.
    name : str
        Name of the image, for viewers.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    levels = pyramid(heatmap)
    with atomic_write(path, durable=False) as partial:
        image = {
            "version": VERSION,
            "multiscales": [_multiscale(heatmap, len(levels), "cyx", name)],
            "omero": _omero(name),
        }
        root = zarr.create_group(partial, attributes={"ome": image}, zarr_format=3)
        _write_levels(root, [level.channels for level in levels], "cyx")
        labels = root.create_group("labels", attributes={"ome": {"version": VERSION, "labels": [LABELS]}})
        marks = {
            "version": VERSION,
            "multiscales": [_multiscale(heatmap, len(levels), "yx", LABELS)],
            "image-label": _image_label(),
        }
        group = labels.create_group(LABELS, attributes={"ome": marks})
        _write_levels(group, [level.label for level in levels], "yx")


def _write_levels(group: zarr.Group, levels: Sequence[NDArray[Any]], axes: str) -> None:
    for k, pixels in enumerate(levels):
        chunks = (*pixels.shape[:-2], *(min(CHUNK_CELLS, side) for side in pixels.shape[-2:]))
        array = group.create_array(
            str(k),
            shape=pixels.shape,
            chunks=chunks,
            dtype=pixels.dtype,
            fill_value=np.nan if pixels.dtype.kind == "f" else 0,
            dimension_names=list(axes),
        )
        array[:] = pixels


def _multiscale(heatmap: Heatmap, n_levels: int, axes: str, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "axes": [_axis(axis) for axis in axes],
        "datasets": [
            {"path": str(k), "coordinateTransformations": _transformations(heatmap, k, axes)}
            for k in range(n_levels)
        ],
        "type": "mean over tissue" if "c" in axes else "mode",
    }


def _axis(axis: str) -> dict[str, str]:
    if axis == "c":
        return {"name": "c", "type": "channel"}
    return {"name": axis, "type": "space", "unit": "micrometer"}


def _transformations(heatmap: Heatmap, k: int, axes: str) -> list[dict[str, Any]]:
    """Scale, then translation to the centre of the first pixel, of level k.

    A pixel of level k is 2^k cells wide. Level-0 pixel 0 spans [0, mpp] and its centre is the zero, so the
    centre of a pixel that starts at `origin` lies at origin + (width - mpp) / 2.
    """
    (x_um, y_um), (cell_x, cell_y) = heatmap.origin_um, heatmap.cell_um
    wide, high = cell_x * 2**k, cell_y * 2**k
    scale = {"c": 1.0, "y": high, "x": wide}
    shift = {"c": 0.0, "y": y_um + (high - heatmap.mpp.y) / 2, "x": x_um + (wide - heatmap.mpp.x) / 2}
    return [
        {"type": "scale", "scale": [scale[axis] for axis in axes]},
        {"type": "translation", "translation": [shift[axis] for axis in axes]},
    ]


def _omero(name: str) -> dict[str, Any]:
    """Colour windows from 0 to 1, so that slides can be compared; only the viable channel is switched on."""
    own = [each.colour for each in TUMOUR_CLASSES]
    own[NON_VIABLE] = NON_VIABLE_COLOUR
    channels = [
        {
            "label": label,
            "color": bytes(colour).hex().upper(),
            "active": label == "p_viable",
            "window": {"min": 0.0, "max": 1.0, "start": 0.0, "end": 1.0},
        }
        for label, colour in zip(CHANNELS, (*own, UNCERTAINTY_COLOUR), strict=True)
    ]
    return {"name": name, "channels": channels}


def _image_label() -> dict[str, Any]:
    return {
        "colors": [{"label-value": value, "rgba": [*colour.rgb, 255]} for value, colour in PALETTE.items()],
        "properties": [{"label-value": value, "name": colour.title} for value, colour in PALETTE.items()],
        "source": {"image": "../../"},
    }
