"""Black that a scanner or a converter filled in where nothing was scanned, on slides of bright glass.

It is one shade of nearly black grey, with the noise of JPEG. Stained tissue, pen and ink hardly ever are so dark over a
whole square of some 60 um, and are not of one shade. Fluorescence is dark all over, but shows no bright glass.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DARKEST = 26  # grey levels in all channels: fill of 20, and noise
NEUTRAL = 10  # grey levels between the channels
SHADE = 5  # grey levels around its median that a piece of fill lies within, ...
ONE_SHADE = 0.9  # ... but for a part of its pixels
BRIGHT = 180  # in all channels: glass, or all but
LEAST_BRIGHT = 0.02  # share of squares of glass among the pixels that are not black
LEAST_MM2 = 0.05  # of a piece
REACH_PX = 7  # a piece holds squares of 15 px in an overview, and ...
GLASS_REACH_PX = 2  # bright squares of 20 um are glass, and no nuclei of fluorescence
TILE_REACH_PX = 8  # ... of 17 px in a tile
EDGE_PX = 1  # pixels of an overview beyond a piece, in which black and glass are mixed, and ...
TILE_EDGE_PX = 2  # ... of a tile


def black_fill(rgb: NDArray[np.uint8], px_mm2: float) -> NDArray[np.bool_] | None:
    """Pixels of an overview that its writer filled with black; None where there are none.

    Parameters
    ----------
    rgb : uint8 array (h, w, 3)
        A slide at about 4 um per pixel.
    px_mm2 : float
        Area of a pixel in mm2.

    Examples
    --------
    >>> import numpy as np
    >>> rgb = np.full((200, 200, 3), 243, np.uint8)
    >>> rgb[:, :90] = 1
    >>> int(black_fill(rgb, 1.6e-5)[0].sum())
    91
    """
    dark = _is_dark(rgb)
    lit = dark.size - int(dark.sum())
    if int(dark.sum()) * px_mm2 < LEAST_MM2 or not lit:
        return None
    if _shrunk(rgb.min(axis=2) > BRIGHT, GLASS_REACH_PX).sum() < LEAST_BRIGHT * lit:
        return None
    from scipy import ndimage  # slow to import; few slides need it

    pieces, count = ndimage.label(_grown(_shrunk(dark, REACH_PX), REACH_PX))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1) * px_mm2
    filled = np.zeros(count + 1, bool)
    for piece in np.flatnonzero(sizes >= LEAST_MM2):
        filled[piece] = piece > 0 and _has_one_shade(rgb[pieces == piece])
    return _grown(filled[pieces], EDGE_PX) if filled.any() else None


def whiten_fill(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tiles (n, h, w, 3) of a slide with black fill, with this in white; a tile depends on no other."""
    dark = _is_dark(tiles)
    for at in np.flatnonzero(dark.any(axis=(1, 2))):
        filled = _grown(_shrunk(dark[at], TILE_REACH_PX), TILE_REACH_PX + TILE_EDGE_PX)
        tiles[at][filled] = 255
    return tiles


def _is_dark(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether pixels (..., 3) are nearly black and grey."""
    most = rgb.max(axis=-1)
    return np.asarray((most <= DARKEST) & (most - rgb.min(axis=-1) <= NEUTRAL))


def _has_one_shade(pixels: NDArray[np.uint8]) -> bool:
    """Whether nearly all pixels (n, 3) lie about their median."""
    median = np.median(pixels, axis=0)
    return bool((np.abs(pixels - median) <= SHADE).all(axis=1).mean() >= ONE_SHADE)


def _shrunk(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Pixels whose whole square is in the mask, which continues beyond the border."""
    return ~_grown(~mask, reach)


def _grown(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    from scipy import ndimage  # as above

    found = ndimage.maximum_filter(mask.view(np.uint8), 2 * reach + 1, mode="constant")
    return np.asarray(found).view(bool)
