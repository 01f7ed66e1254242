"""Tell tissue from glass, with high sensitivity: pale necrosis and acellular osteoid are kept, glass is not.

Optical density is relative to the slide's own glass. Shading darkens all colours alike, stain does
not: a pixel is tissue where its density departs from grey (chroma), where it is dark, or where the
density around it varies (texture). These tests are sensitive, so what they find reaches a few pixels
beyond an edge; the edge is then put where the light is half-way between glass and tissue, which
leaves areas unbiased.

Lengths in pixels below are mask pixels, whose size is `TissueSettings.mpp_um`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsi_necrosis.settings.run import TissueSettings, load_settings
from wsi_necrosis.slides.overview import Overview
from wsi_necrosis.tiling.glass import PAINTED_WHITE, glass_colour
from wsi_necrosis.tiling.mask import MaskClass, TissueMask

SHARP_PX = 0.6  # sigma of the smoothing with which edges are put
SMOOTH_PX = 0.8  # sigma of the further smoothing with which colour is tested: 1.0 in all
STRONG = 3  # times `chroma_od`: stain that is left out of averages over surroundings
BREADTH_PX = 15  # side of the window over which faint colour and texture are averaged
EDGE_PX = 4  # how far smoothing and JPEG blocks may carry colour past an edge
FAINT_EDGE_PX = 8  # how far the window may carry faint findings past an edge
LEVEL_PX = 15  # side of the window that gives the levels of glass and tissue beside an edge
HALO_PX = 64  # overlap of strips: more than all windows reach but closing, so that strips change no result
STRIP_PX = 512


def find_tissue(overview: Overview, settings: TissueSettings | None = None) -> TissueMask:
    """Mask of tissue on a slide.

    Parameters
    ----------
    overview : Overview
        The whole plane of the slide, at about `settings.mpp_um`.
    settings : TissueSettings, optional
        Thresholds in optical density (base 10), lengths in um and areas in um2; by default the shipped ones.

    Returns
    -------
    TissueMask
        Of the overview's shape. Tissue pieces below `min_piece_um2` are marked as specks.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> _ = wn.write_phantom("small.tiff", side_mm=0.5)
    >>> with wn.open_slide("small.tiff") as slide:
    ...     mask = wn.find_tissue(wn.read_overview(slide))
    >>> mask.area_mm2()["tissue"] > 0.05
    True
    """
    settings = settings or load_settings().tissue
    glass = glass_colour(overview)
    found = _candidates(overview, glass, settings)
    px_um2 = overview.mpp.px_mm2 * 1e6
    kept = _without_small(found, settings.min_piece_um2 / px_um2)
    tissue = ~_without_small(~kept, settings.hole_um2 / px_um2, keep_border=True)
    kind = np.full(found.shape, MaskClass.GLASS, np.uint8)
    kind[found & ~kept] = MaskClass.SPECK
    kind[tissue] = MaskClass.TISSUE
    kind[overview.unreadable] = MaskClass.UNREADABLE
    if overview.not_scanned is not None:
        kind[overview.not_scanned] = MaskClass.NOT_SCANNED
    return TissueMask(kind, overview.plane, overview.px_l0, overview.mpp)


def _candidates(
    overview: Overview, glass: NDArray[np.float32], settings: TissueSettings
) -> NDArray[np.bool_]:
    """Pixels that look like tissue, with gaps closed; small pieces are still among them."""
    height = len(overview.rgb)
    found = np.empty(overview.rgb.shape[:2], bool)
    work = partial(_strip_candidates, overview, glass, settings)
    with ThreadPoolExecutor(2) as pool:
        for rows, part in pool.map(work, _strips(height)):
            found[rows] = part
    return found


def _strips(height: int) -> Iterator[slice]:
    for top in range(0, height, STRIP_PX):
        yield slice(top, min(top + STRIP_PX, height))


def _strip_candidates(
    overview: Overview, glass: NDArray[np.float32], settings: TissueSettings, rows: slice
) -> tuple[slice, NDArray[np.bool_]]:
    radius = settings.close_um / 2 / (overview.mpp.x * overview.mpp.y) ** 0.5
    halo = HALO_PX + 2 * int(radius)
    top = max(0, rows.start - halo)
    around = slice(top, rows.stop + halo)
    light = _light(overview.rgb[around], overview.unknown[around], glass)
    stained, faint = _stained_and_faint(light, settings)
    edged = _at_half_level(stained, faint, np.sqrt(((1 - light) ** 2).sum(axis=0)))
    closed = _closed(edged, radius)
    return rows, closed[rows.start - top : rows.stop - top]


def _light(
    rgb: NDArray[np.uint8], unknown: NDArray[np.bool_], glass: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Transmitted light relative to glass, (3, h, w), smoothed; 1 where nothing was scanned."""
    empty = unknown | (np.minimum(np.minimum(rgb[..., 0], rgb[..., 1]), rgb[..., 2]) >= PAINTED_WHITE)
    light = np.empty((3, *empty.shape), np.float32)
    for channel in range(3):
        plane = np.maximum(rgb[..., channel], 1) / glass[channel]
        plane[empty] = 1
        ndimage.gaussian_filter(plane, SHARP_PX, output=light[channel], mode="nearest", truncate=3)
    return light


def _stained_and_faint(
    light: NDArray[np.float32], settings: TissueSettings
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Pixels that differ from glass by colour or darkness, and those that differ faintly over a window."""
    smooth = ndimage.gaussian_filter(light, SMOOTH_PX, mode="nearest", truncate=3, axes=(1, 2))
    colour = -np.log10(smooth, out=smooth)
    grey = colour.mean(axis=0)
    colour -= grey
    chroma2 = np.einsum("chw,chw->hw", colour, colour)
    dark = grey > settings.dark_od
    stained = dark | (chroma2 > settings.chroma_od**2)
    strong = dark | (chroma2 > (STRONG * settings.chroma_od) ** 2)
    faint = ~stained & _coloured_or_textured(colour, grey, ~_dilated(strong, EDGE_PX), settings)
    return stained, faint & _opened(faint | stained, BREADTH_PX // 2 + 2)


def _coloured_or_textured(
    colour: NDArray[np.float32], grey: NDArray[np.float32], free: NDArray[np.bool_], settings: TissueSettings
) -> NDArray[np.bool_]:
    """Whether the `free` pixels in the window around a pixel are coloured on average, or vary in density."""
    weight = free.astype(np.float32)
    mean = partial(ndimage.uniform_filter, size=BREADTH_PX, mode="nearest")
    share = mean(weight)
    known = share > 0.02
    per_free = np.where(known, 1 / np.maximum(share, 1e-6), 0)
    red, green = mean(colour[0] * weight) * per_free, mean(colour[1] * weight) * per_free
    blue2 = (red + green) ** 2  # the three sum to nothing
    variance = mean(grey * grey * weight) * per_free - (mean(grey * weight) * per_free) ** 2
    coloured = red * red + green * green + blue2 > settings.faint_chroma_od**2
    return np.asarray(known & (coloured | (variance > settings.texture_od**2)))


def _at_half_level(
    stained: NDArray[np.bool_], faint: NDArray[np.bool_], signal: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Union of both masks, its edge put where `signal` is half-way between glass and tissue.

    The level of tissue is the mean of the signal weighted with itself, so that glass pixels in the
    mask hardly count. Only a band along the edge can change.
    """
    mean = partial(ndimage.uniform_filter, size=LEVEL_PX, mode="nearest")
    mask = stained | faint
    inside, outside = signal * mask, signal * ~mask
    tissue = mean(inside * signal) / np.maximum(mean(inside), 1e-6)
    share = mean((~mask).astype(np.float32))
    glass = mean(outside) / np.maximum(share, 1e-3)
    band = ~_eroded(mask, EDGE_PX) | (faint & ~_eroded(mask, FAINT_EDGE_PX))
    edged: NDArray[np.bool_] = mask & ~(band & (signal < (tissue + glass) / 2))
    return edged


def _dilated(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    out = ndimage.maximum_filter(mask.view(np.uint8), 2 * reach + 1, mode="nearest")
    return np.asarray(out).view(bool)


def _eroded(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    return ~_dilated(~mask, reach)


def _opened(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    return _dilated(_eroded(mask, reach), reach)


def _closed(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Closing with a disc; the mask continues beyond the border as it is at the border."""
    reach = int(radius)
    if reach < 1:
        return mask
    steps = np.arange(-reach, reach + 1)
    disc = np.hypot(*np.meshgrid(steps, steps)) <= radius
    padded = np.pad(mask, reach, mode="edge")
    closed = ndimage.binary_closing(padded, disc)
    return np.asarray(closed)[reach:-reach, reach:-reach] | mask


def _without_small(
    mask: NDArray[np.bool_], at_least_px: float, *, keep_border: bool = False
) -> NDArray[np.bool_]:
    """`mask` without pieces of fewer pixels; pieces at the border may be kept, for they go on beyond it."""
    touching = ndimage.generate_binary_structure(2, 1 if keep_border else 2)
    labels = np.empty(mask.shape, np.int32)
    count = ndimage.label(mask, touching, output=labels)
    sizes = np.zeros(count + 1, np.int64)
    for rows in _strips(len(mask)):
        sizes += np.bincount(labels[rows].ravel(), minlength=count + 1)
    keep = sizes >= at_least_px
    if keep_border:
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            keep[edge] = True
    keep[0] = False
    return np.asarray(keep[labels])
