"""Tissue of any slide gets the same colours, glass stays glass, and a pixel's neighbours do not matter."""

from __future__ import annotations

import csv
import json
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from PIL import Image
from skimage.color import lab2rgb, rgb2lab

from wsi_necrosis.slides.tiatoolbox_import import _quiet_import
from wsi_necrosis.stain.normalise import (
    TARGET_MEAN,
    TARGET_SD,
    TARGET_STAINS,
    TARGET_STRENGTHS,
    UNIT,
    Normaliser,
    fit_normaliser,
    lab_moments,
    stain_strengths,
)
from wsi_necrosis.stain.recolour import recolour, stained_share
from wsi_necrosis.stain.separation import fit_stains, optical_density
from wsi_necrosis.tiling.foreground import foreground

METHODS = ("macenko", "reinhard")
RGB = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, max_side=6).map(lambda side: (*side, 3)))
COMPARED = (  # tiles of all four cases: viable, necrotic, bone, marrow
    "Case-3-A15-34291-15707",
    "Case-3-A18-11012-16647",
    "Case-4-C21-25306-21689",
    "Case-48-P5-C14-54171-23668",
    "Case-48-P5-C20-39704-11268",
    "P9-B28-22141-15533",
)


def tissue(vectors: Any = TARGET_STAINS, strength: float = 1.0, count: int = 4000) -> np.ndarray:
    """Pixels that hold haematoxylin and eosin in any proportion, and some noise."""
    rng = np.random.default_rng(5)
    rows = np.array(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    density = rng.dirichlet((0.3, 0.3), count) * rng.uniform(0.4, 1.6, (count, 1)) @ rows * strength
    density += rng.normal(0, 0.02, density.shape)
    return np.clip(256 * np.exp(-density) - 1, 0, 255).round().astype(np.uint8)


def purple() -> np.ndarray:
    return tissue([[0.6, 0.7, 0.35], [0.25, 0.88, 0.4]], 1.3)


@pytest.fixture(scope="module")
def tiles(data_dir: Path) -> dict[str, tuple[str, str, np.ndarray]]:
    """Case, slide and every fifth pixel of tissue, at 1 um, of each labelled tile."""
    found = {}
    with (data_dir / "tcia_os" / "labels.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            with Image.open(data_dir / "tcia_os" / row["file"]) as image:
                rgb = np.asarray(image.convert("RGB").reduce(2))
            found[Path(row["file"]).stem] = row["case"], row["slide"], rgb[foreground(rgb[None])[0]][::5]
    return found


def grouped(tiles: dict[str, tuple[str, str, np.ndarray]], by: int) -> list[np.ndarray]:
    """Pixels of each case (0) or slide (1)."""
    groups = defaultdict(list)
    for tile in tiles.values():
        groups[tile[by]].append(tile[2])
    return [np.concatenate(some) for some in groups.values()]


@pytest.mark.parametrize(("method", "tint"), [("macenko", 8), ("reinhard", 3)])
@pytest.mark.parametrize("pixels", [purple(), tissue(strength=0.6), tissue(strength=2.0)])
def test_white_stays_white_and_glass_is_not_tinted(method: str, tint: int, pixels: np.ndarray) -> None:
    glass = np.array([[255] * 3, [243] * 3, [240, 238, 242]], np.uint8)
    change = fit_normaliser(method, pixels).apply(glass).astype(int) - glass
    assert change[0].tolist() == [0, 0, 0]
    assert np.ptp(change, axis=1).max() <= tint
    assert np.abs(change).max() <= 2 * tint  # Macenko scales what little density glass has


@pytest.mark.parametrize("method", METHODS)
@given(rgb=RGB)
def test_a_pixel_does_not_depend_on_its_neighbours(method: str, rgb: np.ndarray) -> None:
    normaliser = fit_normaliser(method, purple())
    together = normaliser.apply(rgb)
    assert (together.dtype, together.shape) == (np.uint8, rgb.shape)
    for pixel, value in zip(rgb.reshape(-1, 3), together.reshape(-1, 3), strict=True):
        assert normaliser.apply(pixel).tolist() == value.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_blocks_of_a_slide_give_the_bits_of_the_whole(method: str) -> None:
    normaliser = fit_normaliser(method, purple())
    whole = np.random.default_rng(0).integers(0, 256, (97, 131, 3), np.uint8)
    block = normaliser.apply(whole[13:, 7:101:3])
    np.testing.assert_array_equal(block, normaliser.apply(whole)[13:, 7:101:3])


def test_macenko_puts_the_standard_stains_in_the_place_of_a_slide_s_own() -> None:
    pixels = purple()
    normalised = fit_normaliser("macenko", pixels).apply(pixels)
    stains = fit_stains(normalised)
    degrees = np.degrees(np.arccos((stains[:2] * TARGET_STAINS).sum(axis=1).clip(-1, 1)))
    assert degrees.max() < 1.5
    np.testing.assert_allclose(stain_strengths(normalised, stains), TARGET_STRENGTHS, rtol=0.03)


def test_macenko_keeps_what_neither_stain_explains() -> None:
    pixels = purple()
    normaliser = fit_normaliser("macenko", pixels)
    own = fit_stains(pixels)
    target = np.array([*TARGET_STAINS, np.cross(*TARGET_STAINS)])
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    change = own @ np.array(normaliser.matrix) @ np.linalg.inv(target)  # from own stains to standard ones
    scales = np.array(TARGET_STRENGTHS) / stain_strengths(pixels, own)
    np.testing.assert_allclose(change, np.diag([*scales, 1]), atol=1e-9)


def test_strengths_are_those_of_least_squares() -> None:
    pixels, stains = tissue(), fit_stains(tissue())
    squares = np.linalg.lstsq(stains[:2].T, optical_density(pixels).T.astype(float))[0]
    np.testing.assert_allclose(stain_strengths(pixels, stains), np.percentile(squares, 99, axis=1), rtol=1e-6)


def test_reinhard_brings_mean_and_deviation_to_the_standard() -> None:
    pixels = purple()
    mean, deviation = lab_moments(fit_normaliser("reinhard", pixels).apply(pixels))
    np.testing.assert_allclose(mean, TARGET_MEAN, atol=1)
    np.testing.assert_allclose(deviation, TARGET_SD, rtol=0.15)  # colours outside sRGB are clipped


def test_reinhard_is_the_formula_faded_by_the_stained_share() -> None:
    pixels = tissue(strength=0.9)
    normaliser = fit_normaliser("reinhard", pixels)
    lab = rgb2lab(pixels)
    moved = lab @ np.array(normaliser.matrix) + normaliser.offset
    expected = 255 * lab2rgb(lab + stained_share(pixels)[:, None] * (moved - lab))
    np.testing.assert_allclose(normaliser.apply(pixels), expected, atol=0.6)  # half a level is rounding


@given(RGB)
def test_moments_are_those_of_cielab(rgb: np.ndarray) -> None:
    mean, deviation = lab_moments(rgb.reshape(-1, 3))
    lab = rgb2lab(rgb).reshape(-1, 3)
    np.testing.assert_allclose(mean, lab.mean(axis=0), atol=0.07)
    np.testing.assert_allclose(deviation, lab.std(axis=0), atol=0.07)


@given(RGB)
def test_a_map_that_changes_nothing_gives_every_pixel_back(rgb: np.ndarray) -> None:
    for method in ("none", *METHODS):
        np.testing.assert_array_equal(Normaliser(method).apply(rgb), rgb)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "pixels",
    [np.empty((0, 3), np.uint8), purple()[:60], np.full((5000, 3), 250, np.uint8)],
    ids=["none", "few", "pale"],
)
def test_without_stained_pixels_nothing_changes(method: str, pixels: np.ndarray) -> None:
    assert fit_normaliser(method, pixels) == Normaliser("none", UNIT, (0.0, 0.0, 0.0))


@pytest.mark.parametrize("method", METHODS)
def test_one_colour_alone_is_not_stretched(method: str) -> None:
    matrix = np.array(fit_normaliser(method, np.full((5000, 3), (190, 120, 170), np.uint8)).matrix)
    assert np.isfinite(matrix).all()
    assert np.abs(np.linalg.svd(matrix)[1]).max() < 4


@pytest.mark.parametrize("method", METHODS)
def test_a_normaliser_comes_back_from_json(method: str) -> None:
    normaliser = fit_normaliser(method, purple())
    again = Normaliser.from_dict(json.loads(json.dumps(normaliser.to_dict())))
    assert again == normaliser
    assert hash(again) == hash(normaliser)


GOOD = Normaliser().to_dict()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"method": "none"}, "method, matrix and offset"),
        ({**GOOD, "more": 1}, "method, matrix and offset"),
        ({**GOOD, "method": "vahadane"}, "'macenko' or 'reinhard'"),
        ({**GOOD, "matrix": [[1, 0], [0, 1]]}, "3 x 3"),
        ({**GOOD, "matrix": 3}, "are numbers"),
        ({**GOOD, "offset": ["a", 0, 0]}, "are numbers"),
        ({**GOOD, "offset": [float("nan"), 0, 0]}, "finite"),
    ],
)
def test_what_is_no_normaliser_is_refused(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Normaliser.from_dict(tree)


@pytest.mark.parametrize(
    ("method", "pixels", "message"),
    [
        ("vahadane", purple(), "'macenko' or 'reinhard'"),
        ("macenko", purple()[None], "shape"),
        ("reinhard", purple().astype(float), "uint8"),
    ],
)
def test_a_fit_refuses_other_input(method: Any, pixels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_normaliser(method, pixels)


def test_large_slides_are_thinned() -> None:
    many = np.repeat(purple(), 300, axis=0)
    for method in METHODS:
        whole, thin = (np.array(fit_normaliser(method, some).matrix) for some in (many, many[::3]))
        np.testing.assert_array_equal(whole, thin)


def test_the_standard_is_that_of_the_labelled_tiles(tiles: dict[str, tuple[str, str, np.ndarray]]) -> None:
    slides = grouped(tiles, by=1)
    assert (len(tiles), len(slides)) == (48, 23)
    stains = [fit_stains(pixels) for pixels in slides]
    vectors = np.median(stains, axis=0)[:2]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strengths = [stain_strengths(*both) for both in zip(slides, stains, strict=True)]
    mean, deviation = np.median([lab_moments(pixels) for pixels in slides], axis=0)
    np.testing.assert_allclose(TARGET_STAINS, vectors, atol=1e-4)
    np.testing.assert_allclose(TARGET_STRENGTHS, np.median(strengths, axis=0), atol=1e-4)
    np.testing.assert_allclose(TARGET_MEAN, mean, atol=0.01)
    np.testing.assert_allclose(TARGET_SD, deviation, atol=0.01)


@pytest.mark.parametrize(("method", "left"), [("macenko", 0.85), ("reinhard", 0.15)])
def test_cases_come_nearer_to_one_another(
    tiles: dict[str, tuple[str, str, np.ndarray]], method: str, left: float
) -> None:
    cases = [pixels[::3] for pixels in grouped(tiles, by=0)]
    normalised = [fit_normaliser(method, pixels).apply(pixels) for pixels in cases]
    before, after = (spread([lab_moments(p)[0] for p in some]) for some in (cases, normalised))
    assert after < left * before


def spread(colours: list[np.ndarray]) -> float:
    """Root of the mean squared distance of colours from their mean."""
    return float(np.sqrt(np.square(colours - np.mean(colours, axis=0)).sum(axis=1).mean()))


@pytest.fixture(scope="module")
def stainnorm() -> Any:
    """Tiatoolbox's module; its import takes over logging and warns, and takes ten seconds or more."""
    with _quiet_import(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("tiatoolbox.tools.stainnorm", exc_type=ImportError)


def by_tiatoolbox(normalizer: Any, pixels: np.ndarray) -> np.ndarray:
    """Pixels normalised by it to the standard of this package."""
    normalizer.stain_matrix_target = np.array(TARGET_STAINS)
    normalizer.maxC_target = np.array([TARGET_STRENGTHS])
    normalizer.target_means, normalizer.target_stds = TARGET_MEAN, TARGET_SD
    return normalizer.transform(pixels[:, None]).reshape(-1, 3).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPARED)
def test_tiatoolbox_gives_similar_colours(
    tiles: dict[str, tuple[str, str, np.ndarray]], stainnorm: Any, name: str
) -> None:
    pixels = tiles[name][2]
    full = stained_share(pixels) > 0.9  # where Reinhard's change is not faded out
    for method, most in (("macenko", 15), ("reinhard", 3)):  # grey levels; its Macenko finds another eosin
        other = by_tiatoolbox(stainnorm.get_normalizer(method), pixels)
        own = fit_normaliser(method, pixels).apply(pixels)
        assert np.abs(own - other)[full].mean() < most
        assert np.corrcoef(own.ravel(), other.ravel())[0, 1] > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPARED)
def test_tiatoolbox_recomposes_the_same_from_the_same_vectors(
    tiles: dict[str, tuple[str, str, np.ndarray]], stainnorm: Any, name: str
) -> None:
    pixels = tiles[name][2]
    stains = fit_stains(pixels)
    other = by_tiatoolbox(stainnorm.get_normalizer("custom", stains[:2]), pixels)
    # It drops the residual, cuts instead of rounding, and takes 255 for white instead of 256.
    matrix = np.array(fit_normaliser("macenko", pixels).matrix)
    without_residual = np.linalg.inv(stains) @ np.diag([1, 1, 0]) @ stains @ matrix
    assert np.abs(recolour(pixels, without_residual) - other).mean() < 1
