from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.tile_folders import tile
from wsi_necrosis.dataset.crops import cut_crops
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.settings.loading import load_train_settings
from wsi_necrosis.settings.train import CropSettings

CROPS: CropSettings = load_train_settings().crops.model_copy(
    update={"tile_px": 8, "mpp_um": 1.0, "per_side": 3}
)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)


@pytest.fixture
def fine(tmp_path: Path, noise: np.ndarray) -> LabelledTile:
    """A tile of 40 px of 0.5 um."""
    Image.fromarray(noise).save(tmp_path / "a.png")
    return replace(tile("a.png", "A"), path=tmp_path / "a.png")


def test_crops_are_area_averages_spread_over_the_tile(fine: LabelledTile, noise: np.ndarray) -> None:
    crops = cut_crops(fine, CROPS)
    coarse = noise.reshape(20, 2, 20, 2, 3).mean(axis=(1, 3))
    assert crops.shape == (9, 8, 8, 3)
    assert crops.dtype == np.uint8
    np.testing.assert_allclose(crops[0], coarse[:8, :8], atol=0.5)
    np.testing.assert_allclose(crops[5], coarse[6:14, 12:], atol=0.5)
    np.testing.assert_allclose(crops[8], coarse[12:, 12:], atol=0.5)


def exact_average(pixels: np.ndarray, ratio: float) -> np.ndarray:
    """Each wanted pixel as the mean of what it covers, by integrating along both axes in turn."""
    for _ in range(2):
        integral = np.concatenate([np.zeros((1, *pixels.shape[1:])), np.cumsum(pixels, axis=0, dtype=float)])
        edges = ratio * np.arange(int(len(pixels) / ratio + 1e-9) + 1)
        low = np.minimum(edges.astype(int), len(pixels) - 1)
        at_edges = integral[low] + (edges - low)[:, None, None] * pixels[low]
        pixels = (np.diff(at_edges, axis=0) / ratio).swapaxes(0, 1)
    return pixels


@pytest.mark.parametrize("mpp", [0.7, 0.41, 0.93, 0.27])
def test_other_ratios_are_averaged_with_exact_shares(
    fine: LabelledTile, noise: np.ndarray, mpp: float
) -> None:
    expected = exact_average(noise.astype(float), 1 / mpp)
    crops = cut_crops(replace(fine, mpp=mpp), CROPS)
    np.testing.assert_allclose(crops[0], expected[:8, :8], atol=0.51)
    np.testing.assert_allclose(crops[-1], expected[-8:, -8:], atol=0.51)


@pytest.mark.parametrize("mpp", [0.982, 1.0, 1.019])
def test_sizes_within_two_percent_are_taken_as_they_are(
    fine: LabelledTile, noise: np.ndarray, mpp: float
) -> None:
    np.testing.assert_array_equal(cut_crops(replace(fine, mpp=mpp), CROPS)[0], noise[:8, :8])
    half = cut_crops(replace(fine, mpp=mpp / 2), CROPS)
    np.testing.assert_array_equal(half, cut_crops(fine, CROPS))


@given(st.integers(8, 20), st.integers(8, 20), st.integers(1, 5))
def test_places_that_coincide_are_taken_once(tmp_path_factory, rows: int, cols: int, per_side: int) -> None:
    path = tmp_path_factory.mktemp("crops") / "a.png"
    pixels = np.zeros((rows, cols, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(rows)[:, None], np.arange(cols)
    Image.fromarray(pixels).save(path)
    found = cut_crops(
        replace(tile("a", "A"), path=path, mpp=1.0), CROPS.model_copy(update={"per_side": per_side})
    )
    places = {(int(crop[0, 0, 0]), int(crop[0, 0, 1])) for crop in found}
    assert len(found) == len(places) == min(per_side, rows - 7) * min(per_side, cols - 7)
    assert (0, 0) in places
    assert per_side == 1 or (rows - 8, cols - 8) in places


@pytest.mark.parametrize(("mode", "grey"), [("L", 10), ("P", 10), ("CMYK", 245), ("RGBA", 255), ("LA", 255)])
def test_pictures_of_any_mode_are_read_and_clear_parts_are_white(
    tmp_path: Path, mode: str, grey: int
) -> None:
    colour = {"L": 10, "P": 10, "CMYK": (10, 10, 10, 0), "RGBA": (10, 10, 10, 0), "LA": (10, 0)}[mode]
    path = tmp_path / "a.tif"
    image = Image.new(mode, (8, 8), colour)
    if mode == "P":
        image.putpalette([at for value in range(256) for at in (value, value, value)])
    image.save(path)
    crops = cut_crops(replace(tile("a", "A"), path=path, mpp=1.0), CROPS)
    assert np.unique(crops).tolist() == [grey]


def test_crops_that_cannot_be_cut_are_refused(tmp_path: Path, fine: LabelledTile) -> None:
    with pytest.raises(DatasetError, match=r"1\.03 um per pixel, coarser than crops\.mpp_um 1"):
        cut_crops(replace(fine, mpp=1.03), CROPS)
    with pytest.raises(DatasetError, match=r"5 x 5 px at 1 um, less than a 8 px crop"):
        cut_crops(replace(fine, mpp=0.125), CROPS)
    with pytest.raises(DatasetError, match=r"0 x 0 px"):
        cut_crops(replace(fine, mpp=0.01), CROPS)


@pytest.mark.parametrize("content", [b"no picture", b""])
def test_damaged_pictures_are_named(fine: LabelledTile, content: bytes) -> None:
    whole = fine.path.read_bytes()
    for damaged in (content, whole[:60], whole[: len(whole) // 2]):
        fine.path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"a\.png cannot be read"):
            cut_crops(fine, CROPS)
