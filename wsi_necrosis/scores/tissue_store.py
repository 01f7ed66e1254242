"""Overview and tissue mask of a slide, kept beside its scores so that pictures can be drawn without the slide."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from wsi_necrosis.errors import StoreError
from wsi_necrosis.files import atomic_write, checksum, write_text
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.scores.slide_folder import TISSUE, TISSUE_CHECKSUM, SlideFolder
from wsi_necrosis.slides.overview import Overview
from wsi_necrosis.tiling.mask import MaskClass, Tissue, TissueMask

CHUNK_PX = 1024


def write_tissue(folder: Path, overview: Overview, mask: TissueMask) -> None:
    """Write overview and mask to `tissue.zarr` in a slide's folder; one that exists is replaced.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    facts = {
        "plane": asdict(overview.plane),
        "px_l0": list(overview.px_l0),
        "mpp": asdict(overview.mpp),
        "classes": [each.name.lower() for each in MaskClass],
    }
    arrays = {"overview": overview.rgb, "unreadable": overview.unreadable, "mask": mask.kind}
    with atomic_write(folder / TISSUE, durable=False) as partial:
        group = zarr.create_group(partial, attributes=facts)
        for name, pixels in arrays.items():
            chunks = (*(min(CHUNK_PX, side) for side in pixels.shape[:2]), *pixels.shape[2:])
            group.create_array(
                name, data=pixels, chunks=chunks, dimension_names=("y", "x", "channel")[: pixels.ndim]
            )
        write_text(partial / TISSUE_CHECKSUM, checksum(partial), durable=False)


def read_tissue(folder: Path) -> Tissue:
    """Read what `write_tissue` wrote.

    Raises
    ------
    StoreError
        It is missing or damaged.
    """
    path = folder / TISSUE
    if not SlideFolder(folder).has_tissue:
        raise StoreError(f"{path} is missing or damaged; run the slide again")
    try:
        group = zarr.open_group(path, mode="r")
        facts: dict[str, Any] = dict(group.attrs)
        rgb, unreadable, kind = (_pixels(group, name) for name in ("overview", "unreadable", "mask"))
        plane, mpp, (x, y) = Box(**facts["plane"]), Mpp(**facts["mpp"]), facts["px_l0"]
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({error!r}); run the slide again") from None
    not_scanned = kind == MaskClass.NOT_SCANNED
    overview = Overview(
        rgb, unreadable, plane, (int(x), int(y)), mpp, not_scanned if not_scanned.any() else None
    )
    return Tissue(overview, TissueMask(kind, plane, overview.px_l0, mpp))


def _pixels(group: zarr.Group, name: str) -> NDArray[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"{name} is no array")
    return np.asarray(array[...])
