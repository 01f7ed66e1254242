"""A plain picture, PNG or JPEG, as a slide of one level: the quickest first try is a tile."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi_necrosis.errors import SlideError
from wsi_necrosis.geometry import Box
from wsi_necrosis.slides.colour_profile import profile_name
from wsi_necrosis.slides.info import GivenMpp, SlideInfo, settle_mpp
from wsi_necrosis.slides.source_files import raise_if_of_the_system
from wsi_necrosis.slides.stored_levels import Levels, on_white
from wsi_necrosis.slides.window import Window

HEADS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
MOST_PX = 2**26  # held in memory
TILE_PX = 512


class PictureLevels:
    """A picture in memory as the only level of a slide."""

    def __init__(self, rgb: NDArray[np.uint8]) -> None:
        self._rgb = rgb
        self.is_sparse, self.stored = False, 1
        self.downsamples: tuple[float, ...] = (1.0,)
        self.sizes: tuple[tuple[int, int], ...] = ((rgb.shape[1], rgb.shape[0]),)
        self.tiles: tuple[tuple[int, int], ...] = ((TILE_PX, TILE_PX),)

    def fetch(
        self,
        level: int,
        window: Window,
        out: NDArray[np.uint8],
        absent: NDArray[np.bool_] | None = None,
    ) -> int:
        """Copy a window."""
        out[:] = self._rgb[window.within(Window(0, 0, *self.sizes[level]))]
        return window.count_tiles(self.tiles[level])

    def reopened(self) -> Self:
        """The same picture."""
        return self

    def close(self) -> None:
        """Do nothing: no file is open."""


def is_picture(path: Path) -> bool:
    """Tell whether a file starts as PNG or JPEG files do; a MIRAX slide's own file is a JPEG, too."""
    if path.suffix.lower() in {".mrxs", ".vms", ".vmu"}:
        return False
    with path.open("rb") as stream:
        return stream.read(8).startswith(HEADS)


def open_picture(path: Path, given: GivenMpp | None) -> tuple[SlideInfo, Levels]:
    """Open a PNG or JPEG of 8-bit RGB; it states no pixel size.

    Parameters
    ----------
    path : Path
        A file for which `is_picture` holds.
    given : GivenMpp or None
        Plausible pixel size.

    Raises
    ------
    SlideError
        It is damaged, too large, or not 8-bit RGB.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MOST_PX:
                raise SlideError(
                    f"{path} is a plain picture of {image.width} x {image.height} px; at most {MOST_PX:,} px are read. "
                    "Convert it, as with `vips tiffsave IN OUT.tif --tile --pyramid --compression jpeg`"
                )
            if image.mode not in {"RGB", "RGBA"}:
                raise SlideError(f"{path} is a picture of mode {image.mode}; only 8-bit RGB is read")
            levels, icc = PictureLevels(np.asarray(on_white(image))), image.info.get("icc_profile")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise_if_of_the_system(error, path)
        raise SlideError(f"{path} is a picture that cannot be read ({error}); copy it again") from error
    mpp, source = settle_mpp(path, None, "metadata", given)
    size = levels.sizes[0]
    info = SlideInfo(
        path=path,
        files=(path,),
        vendor="picture",
        reader="pillow",
        size_l0=size,
        plane=Box(0, 0, *size),
        bounds_l0=(0, 0),
        downsamples=levels.downsamples,
        levels=levels.sizes,
        mpp=mpp,
        mpp_source=source,
        objective=None,
        icc_profile=profile_name(icc),
    )
    return info, levels
