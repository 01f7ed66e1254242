"""Metadata of a slide that is not there."""

from __future__ import annotations

from pathlib import Path

from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.info import SlideInfo


def info(
    mpp: Mpp | None, size: tuple[int, int] = (4000, 3000), downsamples: tuple[float, ...] = (1.0,)
) -> SlideInfo:
    """Of a slide read by OpenSlide, all of whose plane was scanned."""
    path = Path("slide.svs")
    levels = tuple((int(size[0] / d), int(size[1] / d)) for d in downsamples)
    plane = Box(0, 0, *size)
    return SlideInfo(
        path, (path,), "aperio", "openslide", size, plane, (0, 0), downsamples, levels, mpp, "metadata", 20.0
    )
