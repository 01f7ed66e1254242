from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.odd_slides import JPEG, write_levels
from wsi_necrosis.slides.black_fill import black_fill, whiten_fill
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.phantom import phantom_tiles
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.tiling.tissue import find_tissue

PX_MM2 = 1.6e-5


def scene(rng: np.random.Generator) -> np.ndarray:
    """Bright glass with a piece of tissue, at 4 um per pixel."""
    rgb = rng.normal(243, 1, (300, 300, 1)).repeat(3, axis=2)
    rgb[100:200, 100:200] = rng.normal((200, 130, 180), 8, (100, 100, 3))
    return np.clip(rgb, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("grey", [0, 8, 15, 20])
@pytest.mark.parametrize("where", [np.s_[:, :90], np.s_[220:, :], np.s_[:120, 180:]])
def test_black_beside_glass_was_not_scanned(where: tuple[slice, slice], grey: int) -> None:
    rng = np.random.default_rng(0)
    rgb = scene(rng)
    rgb[where] = grey + rng.integers(0, 4, rgb[where].shape)  # as JPEG leaves it
    expected = np.zeros(rgb.shape[:2], bool)
    expected[where] = True
    found = black_fill(rgb, PX_MM2)
    assert found[expected].all()
    assert found.sum() <= expected.sum() + 2 * 2 * 300


def test_fluorescence_and_small_black_things_are_left() -> None:
    rng = np.random.default_rng(0)
    glow = np.zeros((300, 300, 3), np.uint8)
    glow[::7, ::9, 1] = 220
    assert black_fill(glow, PX_MM2) is None
    assert black_fill(np.zeros((300, 300, 3), np.uint8), PX_MM2) is None
    rgb = scene(rng)
    rgb[20:40, 20:40] = 0  # 80 um: a speck of pigment
    rgb[:, 250:258] = 0  # a hair
    assert black_fill(rgb, PX_MM2) is None
    rgb = scene(rng)
    rgb[:, :90] = (10, 10, 40)  # a pen
    assert black_fill(rgb, PX_MM2) is None


@pytest.mark.parametrize(("low", "high", "colour"), [(2, 24, 0), (10, 45, 0), (28, 30, 0), (4, 8, 16)])
def test_dark_tissue_and_ink_are_left(low: int, high: int, colour: int) -> None:
    """They are of many shades, or coloured, or less dark."""
    rng = np.random.default_rng(0)
    rgb = scene(rng)
    clouds = np.kron(rng.uniform(low, high, (60, 18)), np.ones((5, 5)))
    rgb[:, :90] = clouds[..., None] + (0, 0, colour)
    assert black_fill(rgb, PX_MM2) is None


def test_bright_nuclei_are_no_glass() -> None:
    glow = np.full((300, 300, 3), 14, np.uint8)
    glow[100:, 100:] = 60
    glow[150:300:6, 150:300:6] = 220
    glow[151:300:6, 150:300:6] = 220
    assert (glow.min(axis=2) > 180).sum() > 0.02 * 200**2
    assert black_fill(glow, PX_MM2) is None


def test_fill_in_a_tile_is_white_and_tissue_stays() -> None:
    tile = np.full((64, 64, 3), (200, 130, 180), np.uint8)
    tile[10:14, 40:44] = 0  # a dark nucleus
    cut = tile.copy()
    cut[:, :20] = 2
    found = whiten_fill(np.stack([tile, cut]))
    np.testing.assert_array_equal(found[0], tile)
    assert (found[1][:, :20] == 255).all()
    np.testing.assert_array_equal(found[1][:, 23:], tile[:, 23:])


def test_tissue_does_not_depend_on_the_fill(tmp_path: Path) -> None:
    tissue = phantom_tiles("viable", 512, 1, np.random.default_rng(1))[0]
    masks = {}
    for name, fill in (("black", 0), ("grey", 20), ("white", 255)):
        rgb = np.full((2048, 2048, 3), fill, np.uint8)
        rgb[512:1536, 512:1536] = 243
        rgb[768:1280, 768:1280] = tissue
        with open_slide(write_levels(tmp_path / f"{name}.tiff", [rgb], **JPEG)) as slide:
            overview = read_overview(slide)
        masks[name] = find_tissue(overview).area_mm2()
    for name in ("black", "grey"):
        assert masks[name]["tissue"] == pytest.approx(masks["white"]["tissue"], rel=0.01)
        assert masks[name]["not_scanned"] == pytest.approx(0.75 * 1.048576, rel=0.03)  # and a rim of 8 um
    assert masks["white"]["not_scanned"] == 0


@pytest.mark.parametrize("name", ["test3-DAPI-2-387.ndpi", "test3-TRITC-2-560.ndpi"])
def test_real_fluorescence_has_no_fill(data_dir: Path, name: str) -> None:
    with open_slide(data_dir / "slides" / name) as slide:
        overview = read_overview(slide)
    assert (overview.rgb.max(axis=2) <= 26).mean() > 0.6
    assert not overview.has_black_fill
