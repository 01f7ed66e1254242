from collections.abc import Callable
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from wsi_necrosis.export.picture import (
    class_map,
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
from wsi_necrosis.slides.overview import Overview
from wsi_necrosis.tiling.mask import MaskClass


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


@pytest.mark.parametrize("value", [1, 2, 3, 4, 5])
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
        wanted = heat_colours(slide.heatmap.channels[2, row, col])
        inside = picture[row * 320 + 8 : row * 320 + 312, col * 320 + 8 : col * 320 + 312]
        assert (inside == wanted).all()


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
