"""Overview, mask and picture of a slide, kept beside its scores so that exports can be made without the slide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

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


def write_tissue(folder: Path, tissue: Tissue) -> None:
    """Write overview, mask and picture to `tissue.zarr` in a slide's folder; one that exists is replaced.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    overview, picture = tissue.overview, tissue.picture
    arrays = {"overview": overview.rgb, "unreadable": overview.unreadable, "mask": tissue.mask.kind}
    facts = {
        "plane": asdict(overview.plane),
        **_pixel_facts(overview),
        "classes": [each.name.lower() for each in MaskClass],
        "picture": None,
    }
    if picture is not overview:
        facts["picture"] = _pixel_facts(picture)
        arrays |= {"picture": picture.rgb, "picture_unreadable": picture.unreadable}
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
    with _opened(folder) as (group, facts):
        x, y = facts["px_l0"]
        mask = TissueMask(
            _pixels(group, "mask"), Box(**facts["plane"]), (int(x), int(y)), Mpp(**facts["mpp"])
        )
        overview = _overview(group, ("overview", "unreadable"), mask.plane, facts)
        not_scanned = mask.kind == MaskClass.NOT_SCANNED
        overview = replace(overview, not_scanned=not_scanned if not_scanned.any() else None)
        finer, names = facts["picture"], ("picture", "picture_unreadable")
        picture = overview if finer is None else _overview(group, names, mask.plane, finer)
        return Tissue(overview, mask, picture)


def read_mask(folder: Path, *, in_memory: bool = True) -> TissueMask:
    """The mask alone, in a fifth of the memory of all; not `in_memory`, slices of its array are read when asked for.

    Raises
    ------
    StoreError
        It is missing or damaged.
    """
    with _opened(folder) as (group, facts):
        x, y = facts["px_l0"]
        kind = (
            _pixels(group, "mask") if in_memory else cast(NDArray[np.uint8], group["mask"])
        )  # sliced like one
        return TissueMask(kind, Box(**facts["plane"]), (int(x), int(y)), Mpp(**facts["mpp"]))


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[zarr.Group, dict[str, Any]]]:
    """The group and its facts; what reading it raises becomes an error that names it."""
    path = folder / TISSUE
    if not SlideFolder(folder).has_tissue:
        raise StoreError(f"{path} is missing or damaged; run the slide again")
    try:
        group = zarr.open_group(path, mode="r")
        yield group, dict(group.attrs)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({error!r}); run the slide again") from None


def _pixel_facts(overview: Overview) -> dict[str, Any]:
    return {"px_l0": list(overview.px_l0), "mpp": asdict(overview.mpp)}


def _overview(group: zarr.Group, names: tuple[str, str], plane: Box, facts: Mapping[str, Any]) -> Overview:
    rgb, unreadable = (_pixels(group, name) for name in names)
    x, y = facts["px_l0"]
    return Overview(rgb, unreadable, plane, (int(x), int(y)), Mpp(**facts["mpp"]))


def _pixels(group: zarr.Group, name: str) -> NDArray[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"{name} is no array")
    return np.asarray(array[...])
