"""The slide's plane as a picture with square pixels, also where the scanner's pixels are not square."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from wsi_necrosis.classes import VIABLE
from wsi_necrosis.geometry import Box
from wsi_necrosis.quantify.heatmap import Heatmap
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.slides.overview import Overview
from wsi_necrosis.tiling.mask import MaskClass, TissueMask

WHITE = (255, 255, 255)
HEAT_COLOURS = "YlOrRd"  # ColorBrewer; evenly graded, red for viable, safe for the colour-blind
GREYNESS = 0.7  # share of the stain that is taken out under class colours
FINEST_UM = 0.25  # side of a picture's pixel; finer ones would show nothing new
HATCH_PX = 100  # periods of a hatch on the longer side of a picture
HATCH_WHITE = 0.15  # opacity between the lines of non-viable tumour
HATCH_SHARE = 0.35  # of a period is line
ABSTAINED_LINE, ABSTAINED_GAP = (120, 120, 120), (225, 225, 225)
FAINT_STAIN = (210, 180, 200)

RGB = NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """A picture of `width` x `height` pixels of `um` micrometres that shows the whole plane."""

    width: int
    height: int
    um: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height


@dataclass(frozen=True)
class Layers:
    """The layers of a picture: slide, tissue mask and heatmap. All cover one plane, each in pixels of its own size."""

    overview: Overview
    mask: TissueMask
    heatmap: Heatmap


def plane_um(overview: Overview) -> tuple[float, float]:
    """Width and height of an overview's plane in micrometres."""
    x = overview.plane.width_l0 * overview.mpp.x / overview.px_l0[0]
    return x, overview.plane.height_l0 * overview.mpp.y / overview.px_l0[1]


def fit(overview: Overview, width: float, height: float) -> Frame:
    """Largest frame within `width` x `height` pixels, with pixels of 0.25 um at least."""
    wide_um, high_um = plane_um(overview)
    um = max(wide_um / max(1, width), high_um / max(1, height), FINEST_UM)
    return Frame(max(1, round(wide_um / um)), max(1, round(high_um / um)), um)


def slide_picture(overview: Overview, frame: Frame) -> RGB:
    """RGB (height, width, 3) of the slide itself."""
    shrinks = overview.rgb.shape[1] > frame.width
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    image = Image.fromarray(np.ascontiguousarray(overview.rgb))
    box = _plane_px(overview.plane, overview.px_l0)
    return np.asarray(image.resize(frame.size, how, _within(box, image.size)))


def class_map(layers: Layers, frame: Frame, opacity: float) -> RGB:
    """RGB (height, width, 3) of the slide with class colours over its tissue and opaque outlines.

    Non-viable tumour is hatched, as its grey and the red of viable tumour look alike to protanopes; so is tissue that
    abstained, the other way.

    Parameters
    ----------
    layers : Layers
        Slide, tissue, labels.
    frame : Frame
        Size of the picture.
    opacity : float
        Of the colours, 0 to 1.
    """
    slide, label, cover = _parts(layers, frame)
    outline = _outline(label, _thickness(frame))
    return _coloured(slide, label, cover, outline, opacity, max(frame.size))


def outlined_map(
    overview: Overview, mask: TissueMask, label: NDArray[np.uint8], frame: Frame, opacity: float
) -> RGB:
    """As `class_map`, of labels (h, w) of the mask's own pixels."""
    (wide, high), plane = mask.px_l0, mask.plane
    col = _cells(frame.width, plane.width_l0, wide, label.shape[1])
    row = _cells(frame.height, plane.height_l0, high, label.shape[0])
    shown = label[np.ix_(row, col)]
    cover = np.where(shown > 0, _cover(mask, MaskClass.TISSUE, frame), 0)
    outline = _outline(shown, _thickness(frame))
    return _coloured(slide_picture(overview, frame), shown, cover, outline, opacity, max(frame.size))


def class_swatches(
    layers: Layers, frame: Frame, labels: Sequence[int], size: tuple[int, int], opacity: float
) -> list[RGB]:
    """RGB (height, width, 3) of each label as `class_map` shows it over tissue of its mean colour, outlined.

    Parameters
    ----------
    layers : Layers
        Slide, tissue, labels.
    frame : Frame
        Size of the map.
    labels : sequence of int
        `CellLabel` of each.
    size : tuple of int
        Width and height of a swatch.
    opacity : float
        As of the map.
    """
    slide, shown, cover = _parts(layers, frame)
    outline = np.ones(size[::-1], bool)
    outline[1:-1, 1:-1] = False
    found = []
    for label in labels:
        under = (shown == label) & (cover > 0.5)
        colour = slide[under].mean(axis=0) if under.any() else FAINT_STAIN
        tissue = np.broadcast_to(np.asarray(colour, np.float32), (*outline.shape, 3))
        of_label = np.full(outline.shape, label, np.uint8)
        found.append(_coloured(tissue, of_label, np.ones(outline.shape), outline, opacity, max(frame.size)))
    return found


def _parts(layers: Layers, frame: Frame) -> tuple[RGB, NDArray[np.uint8], NDArray[np.float32]]:
    """The slide, the label of each pixel, and the share of each pixel that has it."""
    unreadable = _cover(layers.mask, MaskClass.UNREADABLE, frame)
    label = _nearest(layers.heatmap, layers.heatmap.label, frame)
    label = np.where(unreadable > 0.5, np.uint8(CellLabel.UNREADABLE), label)
    tissue = np.maximum(_cover(layers.mask, MaskClass.TISSUE, frame), unreadable)
    return slide_picture(layers.overview, frame), label, np.where(label > 0, tissue, 0)


def _coloured(
    slide: NDArray[Any],
    label: NDArray[np.uint8],
    cover: NDArray[Any],
    outline: NDArray[np.bool_],
    opacity: float,
    side_px: int,
) -> RGB:
    """Class colours over a slide: blended, and opaque in outlines and the lines of hatches.

    Between the lines of non-viable tumour is a little white: on dark tissue they would not stand out otherwise.
    """
    down, up = _hatches(label.shape, side_px)
    lines = ((label == CellLabel.NON_VIABLE) & up) | ((label == CellLabel.ABSTAINED) & down)
    colours = np.array([WHITE, *(PALETTE[value].rgb for value in sorted(PALETTE))], np.float32)
    above = np.where((lines & (label == CellLabel.ABSTAINED))[..., None], ABSTAINED_LINE, colours[label])
    above[(label == CellLabel.NON_VIABLE) & ~lines & ~outline] = WHITE
    # grey, as the stain would tint the colours, which then no longer match the legend
    grey = _blend(slide, slide.mean(axis=-1, keepdims=True), (cover > 0) * GREYNESS)
    alpha = np.where(label == CellLabel.NON_VIABLE, HATCH_WHITE, opacity)
    return _blend(grey, above, np.where(outline | lines, 1, alpha) * cover)


def _hatches(shape: tuple[int, ...], side_px: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Pixels on lines that fall to the right, and on lines that rise."""
    period = max(5, round(side_px / HATCH_PX))
    wide = max(2, round(period * HATCH_SHARE))
    row, col = np.indices(shape)
    return (col - row) % period < wide, (col + row) % period < wide


def heat_picture(layers: Layers, frame: Frame) -> RGB:
    """RGB (height, width, 3) of the probability of viable tumour on tissue, over a faint grey slide.

    Where tissue abstained the probability says nothing, and grey lines take its place.
    """
    probability = _nearest(layers.heatmap, layers.heatmap.channels[VIABLE], frame)
    abstained = _nearest(layers.heatmap, layers.heatmap.label, frame) == CellLabel.ABSTAINED
    known = np.isfinite(probability)
    grey = slide_picture(layers.overview, frame).mean(axis=-1, keepdims=True)
    faint = np.broadcast_to(255 - (255 - grey) * 0.3, (*grey.shape[:2], 3))
    lines = _hatches(probability.shape, max(frame.size))[0]
    greys = np.where(lines[..., None], ABSTAINED_LINE, ABSTAINED_GAP)
    colours = np.where(abstained[..., None], greys, heat_colours(np.where(known, probability, 0)))
    return _blend(faint, colours, np.where(known, _cover(layers.mask, MaskClass.TISSUE, frame), 0))


def heat_colours(probability: ArrayLike) -> RGB:
    """RGB (..., 3) of probabilities; the scale is absolute, from 0 to 1."""
    table = mpl.colormaps[HEAT_COLOURS](np.linspace(0, 1, 256))[:, :3]
    return np.asarray(np.rint(255 * table[np.rint(255 * np.clip(probability, 0, 1)).astype(int)]), np.uint8)


def round_length(um: float) -> float:
    """Largest 1, 2 or 5 times a power of ten that is not above `um`."""
    power = 10.0 ** math.floor(math.log10(um))
    return max(step * power for step in (1, 2, 5) if step * power <= um * (1 + 1e-9))


def draw_scale_bar(draw: ImageDraw.ImageDraw, at: tuple[int, int], frame: Frame, unit: int) -> None:
    """Draw a bar of a round length of at most a third of the frame, and its length, from the point `at`.

    Parameters
    ----------
    draw : ImageDraw
        Where to draw.
    at : tuple of int
        Left end of the bar, (x, y).
    frame : Frame
        The picture that the bar measures.
    unit : int
        Height of the text in pixels.
    """
    length_um = round_length(frame.um * max(1, frame.width / 3))
    (x, y), wide = at, round(length_um / frame.um)
    thick = max(2, unit // 5)
    draw.rectangle((x, y - thick // 2, x + max(1, wide) - 1, y - thick // 2 + thick - 1), fill="black")
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    draw.text((x + wide + unit // 2, y), text, fill="black", font=font(unit), anchor="lm")


def font(unit: int, weight: str = "") -> ImageFont.FreeTypeFont:
    """DejaVu Sans of `unit` pixels, which comes with matplotlib; weight is "" or "-Bold"."""
    return ImageFont.truetype(f"{mpl.get_data_path()}/fonts/ttf/DejaVuSans{weight}.ttf", unit)


def _cover(mask: TissueMask, kind: MaskClass, frame: Frame) -> NDArray[np.float32]:
    """Share (height, width) of each picture pixel that is of a class of the mask."""
    image = Image.fromarray((mask.kind == kind).astype(np.uint8) * 255)
    box = _within(_plane_px(mask.plane, mask.px_l0), image.size)
    share = np.asarray(image.resize(frame.size, Image.Resampling.BOX, box), np.float32)
    return np.asarray(share / 255, np.float32)


def _nearest(heatmap: Heatmap, values: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """Values (height, width) of the cells in which the picture's pixel centres lie."""
    col = _cells(frame.width, heatmap.plane.width_l0, heatmap.grid.cell_l0[0], values.shape[1])
    row = _cells(frame.height, heatmap.plane.height_l0, heatmap.grid.cell_l0[1], values.shape[0])
    return values[np.ix_(row, col)]


def _cells(n_px: int, plane_l0: float, cell_l0: float, n_cells: int) -> NDArray[np.int64]:
    centre_l0 = (np.arange(n_px) + 0.5) * plane_l0 / n_px
    return np.minimum((centre_l0 / cell_l0).astype(np.int64), n_cells - 1)


def _thickness(frame: Frame) -> int:
    return max(1, max(frame.size) // 600)


def _outline(label: NDArray[Any], thick: int) -> NDArray[np.bool_]:
    """Pixels within `thick` above or left of a change of label."""
    edge = np.zeros(label.shape, bool)
    for step in range(1, thick + 1):
        edge[:-step] |= label[:-step] != label[step:]
        edge[:, :-step] |= label[:, :-step] != label[:, step:]
    return edge


def _blend(below: NDArray[Any], above: NDArray[Any], alpha: NDArray[Any]) -> RGB:
    share = alpha[..., None].astype(np.float32)
    return np.asarray(np.rint(below * (1 - share) + above * share), np.uint8)


def _plane_px(plane: Box, px_l0: tuple[int, int]) -> tuple[float, float]:
    """Width and height of the plane in pixels of an array that may overhang it by part of a pixel."""
    return plane.width_l0 / px_l0[0], plane.height_l0 / px_l0[1]


def _within(wanted: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    return 0.0, 0.0, min(wanted[0], size[0]), min(wanted[1], size[1])
