from collections.abc import Callable
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tests.helpers.colour_vision import as_a_protanope, ciede2000
from wsi_necrosis.export.picture import (
    ABSTAINED_GAP,
    ABSTAINED_LINE,
    Frame,
    Layers,
    class_map,
    class_swatches,
    draw_scale_bar,
    fit,
    heat_colours,
    heat_picture,
    plane_um,
    round_length,
    slide_picture,
)
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.overview import Overview
from wsi_necrosis.tiling.mask import MaskClass

ABSTAINED_GREYS = (ABSTAINED_LINE, ABSTAINED_GAP)
OPACITY = load_settings().export.overlay_opacity


def test_pixels_are_square_in_micrometres(made_up: Callable[..., Any]) -> None:
    overview = made_up().layers.overview
    assert plane_um(overview) == pytest.approx(((300 * 8 - 3) * 0.5, (210 * 4 - 1) * 1.0))
    frame = fit(overview, 600, 5000)
    assert frame.width == 600
    assert frame.height / frame.width == pytest.approx(839 / 1198.5, abs=0.002)


@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(1, 3000), st.floats(1, 3000))
def test_a_frame_fits_the_given_size(cols: int, rows: int, width: float, height: float) -> None:
    overview = _bare(cols, rows)
    frame = fit(overview, width, height)
    assert 1 <= frame.width <= max(1, round(width))
    assert 1 <= frame.height <= max(1, round(height))
    assert frame.um >= 4 / 16 - 1e-9


def _bare(cols: int, rows: int) -> Overview:
    rgb = np.zeros((1, 1, 3), np.uint8)
    return Overview(rgb, rgb[..., 0] > 0, Box(0, 0, cols * 8, rows * 4), (8, 4), Mpp(4.0, 4.0))


def test_colours_lie_on_tissue_alone(made_up: Callable[..., Any]) -> None:
    slide = made_up()
    layers, frame = slide.layers, fit(slide.layers.overview, 300, 210)
    glass = (layers.mask.kind == MaskClass.GLASS)[: frame.height, : frame.width]
    inner = ~_near(~glass, 3)
    assert inner.any()
    for picture in (class_map(layers, frame, 0.5), heat_picture(layers, frame)):
        assert (np.ptp(picture[inner], axis=-1) <= 1).all()  # the glass here is grey
    np.testing.assert_array_equal(
        class_map(layers, frame, 0.5)[inner], slide_picture(layers.overview, frame)[inner]
    )


def _near(found: np.ndarray, reach: int) -> np.ndarray:
    grown = found.copy()
    for _ in range(reach):
        padded = np.pad(grown, 1)
        grown = padded[2:, 1:-1] | padded[:-2, 1:-1] | padded[1:-1, 2:] | padded[1:-1, :-2] | grown
    return grown


@pytest.mark.parametrize("value", [1, 3, 5])  # the others are hatched
def test_full_opacity_shows_the_palette_itself(made_up: Callable[..., Any], value: int) -> None:
    slide = made_up(fill="tissue")
    heat = replace(slide.heatmap, label=np.full_like(slide.heatmap.label, value))
    picture = class_map(replace(slide.layers, heatmap=heat), fit(slide.layers.overview, 200, 200), 1.0)
    assert (picture == PALETTE[value].rgb).all()


def test_unreadable_places_are_marked_whatever_their_cell(made_up: Callable[..., Any]) -> None:
    slide = made_up(fill="unreadable")
    assert (slide.heatmap.label == 0).all()
    picture = class_map(slide.layers, fit(slide.layers.overview, 100, 100), 1.0)
    assert (picture == PALETTE[5].rgb).all()


def test_each_place_has_the_colour_of_its_cell(made_up: Callable[..., Any]) -> None:
    slide = made_up(cols=96, rows=64, fill="tissue")  # 3 x 2 cells of 32 mask pixels
    frame = fit(slide.layers.overview, 960, 640)
    picture = heat_picture(slide.layers, frame)
    for row, col in np.ndindex(2, 3):
        wanted = [heat_colours(slide.heatmap.channels[2, row, col])]
        if slide.heatmap.label[row, col] == CellLabel.ABSTAINED:
            wanted = [np.uint8(grey) for grey in ABSTAINED_GREYS]
        inside = picture[row * 320 + 8 : row * 320 + 312, col * 320 + 8 : col * 320 + 312]
        assert colours(inside) == colours(np.array(wanted))


def colours(picture: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, np.unique(picture.reshape(-1, 3), axis=0).tolist()))


def all_of(made_up: Callable[..., Any], label: int, tissue: tuple[int, int, int] | None = None) -> Layers:
    """A slide of tissue of one colour whose cells all have one label."""
    layers = made_up(fill="tissue").layers
    rgb = layers.overview.rgb if tissue is None else np.full_like(layers.overview.rgb, tissue)
    overview = replace(layers.overview, rgb=rgb)
    heatmap = replace(layers.heatmap, label=np.full_like(layers.heatmap.label, label))
    return replace(layers, overview=overview, heatmap=heatmap)


@pytest.mark.parametrize("label", [1, 2, 3, 4, 5])
def test_a_swatch_looks_as_the_map_does(made_up: Callable[..., Any], label: int) -> None:
    layers, frame = all_of(made_up, label), fit(made_up().layers.overview, 600, 600)
    (swatch,) = class_swatches(layers, frame, [label], (48, 24), OPACITY)
    assert colours(swatch[1:-1, 1:-1]) == colours(class_map(layers, frame, OPACITY))
    assert len(colours(swatch[1:-1, 1:-1])) == (
        2 if label in {CellLabel.NON_VIABLE, CellLabel.ABSTAINED} else 1
    )


TISSUES = {"pale": (230, 195, 215), "pink": (214, 150, 190), "purple": (130, 90, 150)}


@pytest.mark.parametrize("tissue", TISSUES)
def test_protanopes_see_which_tumour_is_viable(made_up: Callable[..., Any], tissue: str) -> None:
    """Lines and gaps of non-viable tumour differ, and one of them from viable tumour, by 20 of CIEDE2000 and more."""
    viable, non_viable = (
        class_map(all_of(made_up, label, TISSUES[tissue]), Frame(400, 280, 3.0), OPACITY)
        for label in (CellLabel.VIABLE, CellLabel.NON_VIABLE)
    )
    (fill,) = colours(viable)
    line, gap = sorted(colours(non_viable))
    assert line == PALETTE[CellLabel.NON_VIABLE].rgb
    fill, line, gap = (as_a_protanope(each) for each in (fill, line, gap))
    assert ciede2000(line, gap) > 20
    assert max(ciede2000(line, fill), ciede2000(gap, fill)) > 20


def test_abstained_tissue_has_no_colour_of_the_scale(made_up: Callable[..., Any]) -> None:
    layers = all_of(made_up, CellLabel.ABSTAINED)
    certain = np.full_like(layers.heatmap.channels, 0.99)
    picture = heat_picture(
        replace(layers, heatmap=replace(layers.heatmap, channels=certain)), Frame(300, 210, 4.0)
    )
    assert colours(picture) == colours(np.array(ABSTAINED_GREYS))


def test_heat_scale_is_absolute() -> None:
    ends = np.rint(255 * np.array(mpl.colormaps["YlOrRd"]([0.0, 1.0]))[:, :3])
    np.testing.assert_array_equal(heat_colours(np.array([0.0, 1.0])), ends)
    np.testing.assert_array_equal(heat_colours(np.array([-1.0, 2.0])), ends)


@given(st.floats(1e-3, 1e7))
def test_lengths_are_round(um: float) -> None:
    length = round_length(um)
    assert length <= um * (1 + 1e-6)
    assert length > um / 2.5 * (1 - 1e-6)
    assert f"{length:e}"[0] in "125"


def test_scale_bar_has_its_length(made_up: Callable[..., Any]) -> None:
    frame = fit(made_up().layers.overview, 600, 600)
    image = Image.new("RGB", (700, 60), "white")
    draw_scale_bar(ImageDraw.Draw(image), (10, 30), frame, 20)
    row = np.asarray(image)[30, :, 0] == 0
    bar = int(np.argmin(row[10:]))
    # a third of 1198.5 um is 399.5 um, so the bar shows 200 um
    assert bar == round(200 / frame.um)
