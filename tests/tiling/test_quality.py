from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from wsi_necrosis.stain.separation import density_table
from wsi_necrosis.tiling.focus import focus_and_blocks
from wsi_necrosis.tiling.foreground import foreground
from wsi_necrosis.tiling.quality import Measure, tile_quality

VIABLE = "Case-4-C22-39386-26786.jpg"


def focus(tile: np.ndarray) -> float:
    return focus_and_blocks(np.ascontiguousarray(tile), density_table())[0]


def blocks(tile: np.ndarray) -> float:
    return focus_and_blocks(np.ascontiguousarray(tile), density_table())[1]


def texture(seed: int, sigma: float = 0.7, side: int = 96) -> np.ndarray:
    """Random grey texture of about the given grain, in stained colours."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), sigma)
    grey = 130 + 22 * noise / noise.std()
    return np.clip(grey[..., None] + (15, -30, 10), 0, 255).astype(np.uint8)


def by_definition(tile: np.ndarray) -> float:
    grey = density_table()[tile].mean(axis=-1)
    found = []
    for plane in (grey, grey.T):
        second = ((plane[:, :-2] - 2 * plane[:, 1:-1] + plane[:, 2:]) ** 2).sum()
        found.append(second / ((plane[:, 2:] - plane[:, :-2]) ** 2).sum())
    return float(min(found))


@given(st.integers(0, 100), st.integers(8, 40), st.integers(8, 40))
def test_focus_is_laplacian_over_brenner_of_the_worse_direction(seed: int, height: int, width: int) -> None:
    tile = np.random.default_rng(seed).integers(60, 250, (height, width, 3), dtype=np.uint8)
    assert focus(tile) == pytest.approx(by_definition(tile), rel=1e-3)


@given(st.integers(0, 50), st.sampled_from([0.6, 1.0, 1.5]))
def test_focus_falls_with_blur_whatever_the_stain_is(seed: int, strength: float) -> None:
    tile = texture(seed)
    stained = (255 * (tile / 255) ** strength).astype(np.uint8)
    assert focus(stained) == pytest.approx(focus(tile), rel=0.15)
    assert focus(ndimage.gaussian_filter(stained, (1, 1, 0))) < 0.5 * focus(stained)


@given(st.integers(0, 50))
def test_motion_along_either_side_is_out_of_focus(seed: int) -> None:
    tile = texture(seed)
    for axis in (0, 1):
        assert focus(ndimage.uniform_filter1d(tile, 9, axis=axis)) < 0.5 * focus(tile)


def test_bare_glass_has_no_focus() -> None:
    glass = np.random.default_rng(0).normal(243, 0.7, (64, 64, 3)).astype(np.uint8)
    assert np.isnan(focus(glass))
    assert np.isnan(focus(np.full((64, 64, 3), 200, np.uint8)))


@pytest.mark.parametrize("period", [4, 8])
@pytest.mark.parametrize("offset", [0, 3])
def test_blocks_stand_out_wherever_they_begin(period: int, offset: int) -> None:
    tile = texture(1, sigma=2)
    shape = 96 // period + 1
    steps = np.random.default_rng(2).normal(0, 30, (shape, shape)).repeat(period, 0).repeat(period, 1)
    blocky = np.clip(tile + steps[offset : offset + 96, offset : offset + 96, None], 0, 255).astype(np.uint8)
    assert blocks(tile) < 1.3
    assert blocks(blocky) > 1.5


def painted_nuclei(diameter: float, stain: float) -> np.ndarray:
    """Thirty dark discs on pink tissue, 192 px wide; densities times `stain`."""
    centres = np.array([(row, col) for row in range(20, 180, 28) for col in range(20, 180, 28)])
    rows, cols = np.mgrid[:192, :192]
    nearest = np.min([np.hypot(rows - row, cols - col) for row, col in centres], axis=0)
    inside = 1 / (1 + np.exp(2 * (nearest - diameter / 2)))[..., None]
    density = np.array([0.12, 0.45, 0.1]) * (1 - inside) + np.array([0.9, 1.1, 0.5]) * inside
    noise = np.random.default_rng(0).normal(1, 0.05, (192, 192, 1))
    return np.clip(256 * np.exp(-density * stain * noise) - 1, 0, 255).astype(np.uint8)


def measured(tile: np.ndarray) -> np.ndarray:
    return tile_quality(tile[None], np.ones((1, *tile.shape[:2]), bool), 1.0, 0.3)[0]


@pytest.mark.parametrize("diameter", [6.0, 9.0, 13.0])
@pytest.mark.parametrize("stain", [0.5, 1.0, 1.6])
def test_size_of_nuclei_does_not_depend_on_the_stain(diameter: float, stain: float) -> None:
    found = measured(painted_nuclei(diameter, stain))
    assert found[Measure.NUCLEI] >= 9
    assert found[Measure.NUCLEUS_UM2] == pytest.approx(np.pi * diameter**2 / 4, rel=0.35)
    plain = measured(painted_nuclei(diameter, 1.0))
    assert found[Measure.NUCLEUS_OD] == pytest.approx(stain * plain[Measure.NUCLEUS_OD], rel=0.1)


def test_defocus_is_the_limit_over_the_focus() -> None:
    tile = texture(3)
    assert measured(tile)[Measure.DEFOCUS] == pytest.approx(0.3 / focus(tile), rel=1e-6)


def test_a_tile_without_tissue_has_no_nuclei() -> None:
    tile = painted_nuclei(9, 1)
    found = tile_quality(tile[None], np.zeros((1, 192, 192), bool), 1.0, 0.3)[0]
    assert found[Measure.NUCLEI] == 0
    assert np.isnan(found[Measure.NUCLEUS_UM2 :]).all()


@pytest.mark.real
def test_real_tissue_is_sharp_and_blurred_tissue_is_not(data_dir: Path) -> None:
    rgb = Image.open(data_dir / "tcia_os" / VIABLE).convert("RGB")
    tile = np.asarray(rgb.reduce(2))
    blurred = np.asarray(Image.fromarray(ndimage.gaussian_filter(np.asarray(rgb), (2, 2, 0))).reduce(2))
    assert focus(tile) > 2 * focus(blurred)
    wrong = np.asarray(rgb)[:512, :512]  # pixels that are stated twice as large as they are
    sizes = [
        tile_quality(each[None], foreground(each[None]), 1.0, 0.3)[0, Measure.NUCLEUS_UM2]
        for each in (tile, wrong)
    ]
    assert sizes[1] > 1.5 * sizes[0]
