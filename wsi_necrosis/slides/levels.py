"""Which stored levels show the picture of level 0, and how many level-0 pixels one of their pixels spans.

Files state levels that are none: pages of another extent, and levels stored rounded up to whole tiles, whose ratio of
sizes is not the factor that they were reduced by. Sizes are believed where they can mean one thing only, and the format
is a scanner's own. Elsewhere the pixels decide: a level is kept with the factor at which it shows what the next finer
level shows, else left out.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.slides.info import SlideWarning
from wsi_necrosis.slides.resample import Span, average
from wsi_necrosis.slides.stored_levels import JpegTiles, Levels, nominal_downsample
from wsi_necrosis.slides.window import Window

logger = logging.getLogger(__name__)

LEAST_DOWNSAMPLE = 1.2  # a coarser page is a level; one of level 0's own size is another picture
SIZE_SLACK = 0.05  # relative, by which the pixel size that a level states may differ
WINDOW_PX = 64  # side of the windows that are compared, in pixels of the coarser level
MOST_FINER_PX = 1024  # side of a window in pixels of the finer level
COMPARED = 5  # windows along each side of a level, of which as many with most contrast are compared
FEW = 3  # the same, where sizes leave one factor, which the pixels are to confirm
SHOWN = 8.0  # standard deviation in grey levels of a window that a blank level cannot show
SMOOTH_PX = 4  # levels are compared by means of squares, so that the way they were reduced does not matter
LEAST_CONTRAST = 2.0  # standard deviation in grey levels; with less there is nothing to compare
ALIKE = 0.7  # correlation of windows that show the same; by chance it is about 0


@dataclass(frozen=True)
class Chosen:
    """The levels that are believed: their indices, their downsamples, and what was left out."""

    indices: tuple[int, ...]
    downsamples: tuple[float, ...]
    warnings: tuple[SlideWarning, ...]


class ChosenLevels:
    """Some of the levels of a file, with other downsamples than it states."""

    def __init__(self, levels: Levels, chosen: Chosen) -> None:
        self.all, self._chosen = levels, chosen
        self.sizes = tuple(levels.sizes[index] for index in chosen.indices)
        self.tiles = tuple(levels.tiles[index] for index in chosen.indices)
        self.downsamples, self.stored = chosen.downsamples, len(chosen.indices)
        self.is_sparse = levels.is_sparse
        jpeg = levels.jpeg_tiles if isinstance(levels, JpegTiles) else (None,) * levels.stored
        self.jpeg_tiles = tuple(jpeg[index] for index in chosen.indices)

    def fetch(
        self, level: int, window: Window, out: NDArray[np.uint8], absent: NDArray[np.bool_] | None = None
    ) -> int | None:
        """Decode a window of a level that was chosen."""
        return self.all.fetch(self._chosen.indices[level], window, out, absent)

    def jpeg_tile(self, level: int, row: int, col: int) -> bytes | None:
        """A stored tile of a level that was chosen, as a JPEG file."""
        return (
            self.all.jpeg_tile(self._chosen.indices[level], row, col)
            if isinstance(self.all, JpegTiles)
            else None
        )

    def reopened(self) -> Self:
        """Open the same file again."""
        return type(self)(self.all.reopened(), self._chosen)

    def close(self) -> None:
        """Close the file."""
        self.all.close()


def with_true_levels(
    levels: Levels,
    pixel_um: Mapping[tuple[int, int], tuple[float, float]] | None = None,
    *,
    of_any_writer: bool = False,
) -> tuple[Levels, tuple[SlideWarning, ...]]:
    """The levels of a file that are believed.

    Parameters
    ----------
    levels : Levels
        All levels that it states.
    pixel_um : mapping, optional
        Pixel size (x, y) in um that a page states, by its size (width, height).
    of_any_writer : bool
        Whether the format is one that any program writes: then the pixels of every level are compared.

    Returns
    -------
    tuple
        The levels, and a warning for each that was left out.
    """
    chosen = choose_levels(levels, pixel_um or {}, of_any_writer=of_any_writer)
    same = len(chosen.indices) == len(levels.sizes) and chosen.downsamples == levels.downsamples
    return levels if same else ChosenLevels(levels, chosen), chosen.warnings


def choose_levels(
    levels: Levels, pixel_um: Mapping[tuple[int, int], tuple[float, float]], *, of_any_writer: bool = False
) -> Chosen:
    """Choose levels and their downsamples, finest first; level 0 always is among them."""
    indices, downsamples, warnings = [0], [1.0], []
    for index in range(1, len(levels.sizes)):
        stated = _stated_ratio(levels, index, pixel_um)
        finer = indices[-1], downsamples[-1]
        found = _downsample(levels, index, finer, stated, confirmed=of_any_writer)
        if found is not None and found > max(downsamples[-1], LEAST_DOWNSAMPLE):
            indices.append(index)
            downsamples.append(found)
            continue
        (width, height), (width_0, height_0) = levels.sizes[index], levels.sizes[0]
        said = (
            f"a stored level of {width} x {height} px is left out: its sides are 1/{width_0 / width:.4g} and "
            f"1/{height_0 / height:.4g} of level 0's, and its pixels do not show level 0's picture at one factor"
        )
        logger.info("%s", said)
        warnings.append(SlideWarning("level_left_out", said))
    return Chosen(tuple(indices), tuple(downsamples), tuple(warnings))


def _downsample(
    levels: Levels,
    index: int,
    finer: tuple[int, float],
    stated: tuple[float, float] | None,
    *,
    confirmed: bool,
) -> float | None:
    """Level-0 pixels per pixel of a level; None where it is no level of the picture.

    Where sizes leave one factor, a few windows are compared if it is to be `confirmed`, and else none.
    """
    ratios = [full / part for full, part in zip(levels.sizes[0], levels.sizes[index], strict=True)]
    whole = _whole(levels.sizes[0], levels.sizes[index], ratios)
    contradicted = stated is not None and _differ(stated, ratios if whole is None else [whole, whole])
    if whole is not None and not contradicted and not _may_be_padded(levels, index):
        return None if confirmed and _shows_another(levels, index, finer, whole) else whole
    candidates = sorted(set(_candidates(levels, index, ratios, whole)))
    alike = {factor: _alike(levels, index, finer, factor) for factor in candidates}
    known = {factor: value for factor, value in alike.items() if value is not None}
    if not known:  # nothing to compare: sizes alone tell
        return whole if not contradicted else None
    best = max(known, key=lambda factor: (known[factor], factor == whole))
    return best if known[best] >= ALIKE else None


def _shows_another(levels: Levels, index: int, finer: tuple[int, float], factor: float) -> bool:
    """Whether a few windows of a level differ from the finer one's, or are blank where that shows something."""
    alike = _alike(levels, index, finer, factor, FEW)
    if alike is not None:
        return alike < ALIKE
    ratio = factor / finer[1]
    stored = (
        place
        for place in _windows(levels, index, ratio, FEW)
        if _whole_window(levels, index, place) is not None
    )
    shown = (_reduced(levels, finer[0], window, ratio) for window in stored)
    return any(pixels is not None and _smooth(pixels).std() >= SHOWN for pixels in shown)


def _whole(size_l0: tuple[int, int], size: tuple[int, int], ratios: Sequence[float]) -> float | None:
    """The whole factor that explains both sides within a pixel."""
    found = nominal_downsample(size_l0, size, math.sqrt(ratios[0] * ratios[1]))
    explained = all(abs(full / found - part) < 1 for full, part in zip(size_l0, size, strict=True))
    return found if explained and found.is_integer() else None


def _candidates(levels: Levels, index: int, ratios: Sequence[float], whole: float | None) -> Iterator[float]:
    """Factors that a level may have been reduced by: what its sizes mean exactly, or rounded up to tiles."""
    if whole is not None:
        yield whole
    low = max(full / (part + 1) for full, part in zip(levels.sizes[0], levels.sizes[index], strict=True))
    high = min(
        full / max(part - 1, 0.5) for full, part in zip(levels.sizes[0], levels.sizes[index], strict=True)
    )
    if whole is None and low <= high:
        yield sum(ratios) / 2
    power = 2.0
    while power <= 2 * max(ratios):
        if _is_padded_by(levels, index, power):
            yield power
        power *= 2


def _may_be_padded(levels: Levels, index: int) -> bool:
    """Whether both a level and level 0 are whole tiles, so that either may hold less than its size."""
    return all(
        side % tile == 0
        for level in (0, index)
        for side, tile in zip(levels.sizes[level], levels.tiles[level], strict=True)
    )


def _is_padded_by(levels: Levels, index: int, factor: float) -> bool:
    """Whether a level rounded up to whole tiles may have been reduced by a factor.

    What level 0 holds is more than its size less a tile, if that is whole tiles, too.
    """
    sides = zip(levels.sizes[0], levels.tiles[0], levels.sizes[index], levels.tiles[index], strict=True)
    for full, tile_l0, part, tile in sides:
        least = full - tile_l0 if full % tile_l0 == 0 else full - 1
        if part % tile or full / factor <= part - tile or least / factor >= part:
            return False
    return True


def _alike(
    levels: Levels, index: int, finer: tuple[int, float], factor: float, count: int = COMPARED
) -> float | None:
    """Correlation of a level with the next finer one at a factor; None where there is nothing to compare."""
    ratio = factor / finer[1]
    if ratio <= 1:
        return 0.0
    found = []
    for window, seen in _sampled(levels, index, ratio, count):
        expected = _reduced(levels, finer[0], window, ratio)
        if expected is None:
            found.append(0.0)
            continue
        one, other = (_smooth(pixels) for pixels in (seen, expected))
        spread = one.std() * other.std()
        found.append(float(((one - one.mean()) * (other - other.mean())).mean() / spread) if spread else 0.0)
    return float(np.median(found)) if found else None


def _windows(levels: Levels, index: int, ratio: float, count: int) -> list[Window]:
    """A grid of windows of a level, `count` along each side."""
    side = max(SMOOTH_PX * 4, min(WINDOW_PX, int(MOST_FINER_PX / ratio)))
    width, height = levels.sizes[index]
    places = {
        Window(left, top, min(side, width), min(side, height))
        for top in np.linspace(0, max(0, height - side), count).astype(int).tolist()
        for left in np.linspace(0, max(0, width - side), count).astype(int).tolist()
    }
    return sorted(place for place in places if min(place.height, place.width) >= 2 * SMOOTH_PX)


def _sampled(levels: Levels, index: int, ratio: float, count: int) -> list[tuple[Window, NDArray[np.uint8]]]:
    """The windows of a level that have most contrast, of a grid of them."""
    width, height = levels.sizes[index]
    found = []
    for window in _windows(levels, index, ratio, count):
        pixels = _whole_window(levels, index, window)
        if pixels is None:
            continue
        contrast = float(_smooth(pixels).std())
        if contrast >= LEAST_CONTRAST:
            # far from the corner a wrong factor shifts most
            found.append((contrast * (1 + window.left / width + window.top / height), window, pixels))
    found.sort(key=lambda each: -each[0])
    return [(window, pixels) for _, window, pixels in found[:count]]


def _whole_window(levels: Levels, index: int, window: Window) -> NDArray[np.uint8] | None:
    """Pixels of a window of a level; None where it is damaged, or not all of it is stored."""
    pixels = np.empty((window.height, window.width, 3), np.uint8)
    absent = np.zeros(pixels.shape[:2], bool) if levels.is_sparse else None
    found = (
        levels.fetch(index, window, pixels) if absent is None else levels.fetch(index, window, pixels, absent)
    )
    return None if found is None or (absent is not None and absent.any()) else pixels


def _reduced(levels: Levels, finer: int, window: Window, ratio: float) -> NDArray[np.uint8] | None:
    """What a finer level shows where a window of a coarser one lies; None where it ends before."""
    across = Span.along(window.left * ratio, ratio, window.width)
    down = Span.along(window.top * ratio, ratio, window.height)
    under = Window(across.first, down.first, across.length, down.length)
    inside = under.clipped(levels.sizes[finer])
    if inside is None:
        return None
    pixels = np.full((under.height, under.width, 3), 255, np.uint8)
    if levels.fetch(finer, inside, pixels[inside.within(under)]) is None:
        return None
    return average(pixels, across, down)


def _smooth(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Means of squares of the grey picture."""
    rows, cols = (side // SMOOTH_PX for side in pixels.shape[:2])
    grey = pixels[: rows * SMOOTH_PX, : cols * SMOOTH_PX].mean(axis=2)
    return np.asarray(grey.reshape(rows, SMOOTH_PX, cols, SMOOTH_PX).mean(axis=(1, 3)))


def _stated_ratio(
    levels: Levels, index: int, pixel_um: Mapping[tuple[int, int], tuple[float, float]]
) -> tuple[float, float] | None:
    """How many times larger than level 0's pixels those are that a level states; None without another statement."""
    own, level_0 = pixel_um.get(levels.sizes[index]), pixel_um.get(levels.sizes[0])
    if own is None or level_0 is None or own == level_0:
        return None
    return own[0] / level_0[0], own[1] / level_0[1]


def _differ(stated: Sequence[float], ratios: Sequence[float]) -> bool:
    return any(
        not math.isclose(one, other, rel_tol=SIZE_SLACK) for one, other in zip(stated, ratios, strict=True)
    )
