"""The public call: arrays in, array out, finite for every input, and equal to pyradiomics."""

from __future__ import annotations

import csv
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from radiomics.featureextractor import RadiomicsFeatureExtractor

from wsi_necrosis.radiomics.extraction import extract, prepare
from wsi_necrosis.radiomics.families import FAMILIES
from wsi_necrosis.radiomics.nuclei import find_nuclei
from wsi_necrosis.radiomics.planes import split, to_range
from wsi_necrosis.radiomics.recipe import CHANNELS, MASKS, OD_CHANNELS, RECIPES, Feature, Recipe

FAST = RECIPES["fast"]
PIXELWISE = tuple(family for family in FAMILIES if family != "nuclei")


def everything(mask: str = "tissue", channels: tuple[str, ...] = CHANNELS, **settings: Any) -> Recipe:
    """Every feature of every channel under one mask."""
    return Recipe(
        "everything",
        tuple(
            Feature(family, name, channel, mask)
            for channel in channels
            for family in PIXELWISE
            for name in FAMILIES[family]
        ),
        **settings,
    )


# Roots of a difference that rounding decides: the condition number is 1 / (2 value^2), so that near 0
# only the square is determined to the tolerance.
ROOTS = ("Imc2", "MCC")
# Sums of terms of either sign, of the order of 1 and more, that may cancel.
DIFFERENCES = ("Skewness", "ClusterShade", "Correlation", "Imc1", "Entropy")


def tissue_of(tile: np.ndarray) -> np.ndarray:
    """Pixels that are denser than glass."""
    return split(tile, ["grey"])["grey"] > 0.1


def random_tile(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A coloured tile and a mask with some pixels missing."""
    rng = np.random.default_rng(seed)
    base = rng.integers(60, 250, 3)
    tile = np.clip(base + rng.normal(0, rng.uniform(5, 60), (height, width, 3)), 0, 255).astype(np.uint8)
    return tile, rng.random((height, width)) < rng.choice([0.3, 0.9, 1.0])


def by_extractor(tile: np.ndarray, mask: np.ndarray, recipe: Recipe) -> dict[str, float]:
    """The same features by pyradiomics's `RadiomicsFeatureExtractor`."""
    label = SimpleITK.GetImageFromArray(mask[None].astype(np.uint8))
    values = {}
    for channel, plane in split(tile, CHANNELS).items():
        if channel not in {feature.channel for feature in recipe.features}:
            continue
        width, top = (
            (recipe.luminance_width, 256.0)
            if channel == "luminance"
            else (recipe.od_max / recipe.bins, recipe.od_max)
        )
        extractor = RadiomicsFeatureExtractor(
            binWidth=width, force2D=True, distances=list(recipe.distances), additionalInfo=False
        )
        extractor.disableAllFeatures()
        extractor.enableFeaturesByName(**{family: list(FAMILIES[family]) for family in PIXELWISE})
        image = SimpleITK.GetImageFromArray(to_range(plane, top).astype(np.float64)[None])
        found = extractor.execute(image, label)
        mask_name = recipe.features[0].mask
        values |= {
            key.replace("original", f"{channel}_{mask_name}"): float(value) for key, value in found.items()
        }
    return values


def assert_equal(ours: dict[str, float], theirs: dict[str, float]) -> None:
    """To a relative 1e-6, or to 1e-9 of a scale near zero; roots by their squares."""
    for name, value in ours.items():
        power = 2 if name.endswith(ROOTS) else 1
        near_zero = 1e-9 if name.endswith(DIFFERENCES) or power == 2 else 1e-13
        assert value**power == pytest.approx(theirs[name] ** power, rel=1e-6, abs=near_zero), name


def assert_equal_to_extractor(tile: np.ndarray, mask: np.ndarray, recipe: Recipe) -> None:
    values, names = extract(tile[None], mask[None], recipe, 1.0)
    assert_equal(dict(zip(names, values[0], strict=True)), by_extractor(tile, mask, recipe))


def assert_engines_agree(tile: np.ndarray, mask: np.ndarray, recipe: Recipe, mpp: float) -> None:
    ours, names = extract(tile[None], mask[None], recipe, mpp)
    theirs, _ = extract(tile[None], mask[None], recipe, mpp, engine="reference")
    assert_equal(*(dict(zip(names, values[0], strict=True)) for values in (ours, theirs)))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 14), st.integers(1, 14), st.sampled_from([(1,), (1, 2), (3,)]))
def test_engines_agree_on_random_tiles(
    seed: int, height: int, width: int, distances: tuple[int, ...]
) -> None:
    tile, mask = random_tile(seed, height, width)
    recipe = everything(channels=("eosin", "luminance"), distances=distances)
    assert_engines_agree(tile, mask, recipe, 1.0)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(6, 14), st.integers(6, 14), st.sampled_from([(1,), (1, 2)]))
def test_equal_to_the_extractor_of_pyradiomics(
    seed: int, height: int, width: int, distances: tuple[int, ...]
) -> None:
    tile, mask = random_tile(seed, height, width)
    assert_equal_to_extractor(tile, mask, everything(distances=distances))


TILES = [pytest.param(at, marks=() if at % 6 == 0 else pytest.mark.slow) for at in range(48)]  # slow together


@pytest.mark.real
@pytest.mark.parametrize("number", TILES)
def test_engines_agree_on_every_real_tile(data_dir: Path, number: int) -> None:
    """At 256 and 512 px, all channels, both masks."""
    pixels = np.asarray(Image.open(sorted(data_dir.glob("tcia_os/**/*.jpg"))[number]).convert("RGB"))
    for side in (256, 512):
        tile = pixels[:side, :side].copy()
        mask = tissue_of(tile)
        for mask_name in MASKS:
            assert_engines_agree(tile, mask, everything(mask_name), 0.5)


@pytest.mark.real
@pytest.mark.parametrize("number", range(0, 48, 6))
def test_equal_to_the_extractor_of_pyradiomics_on_real_tiles(data_dir: Path, number: int) -> None:
    tile = np.asarray(Image.open(sorted(data_dir.glob("tcia_os/**/*.jpg"))[number]).convert("RGB"))[
        :256, :256
    ]
    mask = tissue_of(tile)
    planes = split(tile, ("haematoxylin", "residual"))
    nuclei = find_nuclei(planes["haematoxylin"], planes["residual"], mask, FAST.nucleus, 0.5) > 0
    for mask_name, under in (("tissue", mask), ("nuclei", nuclei)):
        if np.count_nonzero(under) < 2:  # pyradiomics refuses a mask of one pixel
            continue
        values, names = extract(tile[None], mask[None], everything(mask_name), 0.5)
        theirs = by_extractor(tile, under, everything(mask_name))
        assert_equal(dict(zip(names, values[0], strict=True)), theirs)


def test_any_layout_of_arrays_gives_the_same() -> None:
    tiles, masks = batch(2)
    expected, _ = extract(tiles, masks, FAST, 1.0)
    tiles, masks = np.asfortranarray(tiles), np.asfortranarray(masks)
    tiles.setflags(write=False)
    np.testing.assert_array_equal(extract(tiles, masks, FAST, 1.0)[0], expected)


@pytest.mark.real
def test_viable_tumour_has_more_and_darker_nuclei_than_necrosis(data_dir: Path) -> None:
    tiles = np.stack([real_tile(data_dir, label) for label in ("Viable", "Non-Viable-Tumor")])
    masks = np.stack([tissue_of(tile) for tile in tiles])
    values, names = extract(tiles, masks, FAST, 1.0)
    viable, necrotic = (dict(zip(names, row, strict=True)) for row in values)
    assert 2000 < viable["nuclei_density_per_mm2"] < 8000
    assert viable["nuclei_density_per_mm2"] > 2 * necrotic["nuclei_density_per_mm2"]
    assert viable["nuclei_od_mean"] > necrotic["nuclei_od_mean"]
    assert viable["nuclei_pale_share"] < necrotic["nuclei_pale_share"]


def real_tile(data_dir: Path, label: str) -> np.ndarray:
    """Top left 224 px, at 1.0 um/px, of the darkest tile of a class (so that no glass fills it)."""
    folder = data_dir / "tcia_os"
    with (folder / "labels.csv").open(newline="") as rows:
        name = next(row["file"] for row in csv.DictReader(rows) if row["label"] == label)
    pixels = np.asarray(Image.open(next(folder.rglob(name))).convert("RGB"))[:448, :448]
    return pixels.reshape(224, 2, 224, 2, 3).mean((1, 3)).round().astype(np.uint8)


def degenerate() -> list[tuple[str, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (16, 12, 3), dtype=np.uint8)
    nothing, everything = np.zeros((16, 12), bool), np.ones((16, 12), bool)
    pixel, scattered, pair, line = nothing.copy(), nothing.copy(), nothing.copy(), nothing.copy()
    pixel[3, 5] = scattered[::2, ::2] = pair[4, 5:7] = line[7] = True
    diagonal = np.eye(16, 12, dtype=bool)
    chess = np.repeat(np.where(np.indices((16, 12)).sum(0) % 2, 200, 90)[..., None], 3, 2).astype(np.uint8)
    spot = np.full((16, 12, 3), 255, np.uint8)
    spot[8, 6] = 0
    halves = np.where(np.arange(12)[None, :, None] < 6, 240, 30) * np.ones((16, 1, 3))
    return [
        ("empty mask", noise, nothing),
        ("one pixel", noise, pixel),
        ("pixels that do not touch", noise, scattered),
        ("one pair", noise, pair),
        ("a line", noise, line),
        ("a diagonal", noise, diagonal),
        ("all white", np.full((16, 12, 3), 255, np.uint8), everything),
        ("all black", np.zeros((16, 12, 3), np.uint8), everything),
        ("one colour", np.full((16, 12, 3), (180, 90, 150), np.uint8), everything),
        ("one green, outside the stains", np.full((16, 12, 3), (90, 200, 40), np.uint8), everything),
        ("a chessboard", chess, everything),
        ("one dark pixel", spot, everything),
        ("two halves", halves.astype(np.uint8), everything),
    ]


@pytest.mark.parametrize(
    ("tile", "mask"), [pytest.param(tile, mask, id=name) for name, tile, mask in degenerate()]
)
def test_degenerate_tiles_give_finite_values_that_both_engines_agree_on(
    tile: np.ndarray, mask: np.ndarray
) -> None:
    for recipe in (RECIPES["full"], everything()):
        values, _ = extract(tile[None], mask[None], recipe, 1.0)
        assert np.isfinite(values).all()
    assert_engines_agree(tile, mask, everything(), 1.0)
    far = everything(channels=("luminance",), luminance_width=1.25, distances=tuple(range(1, 9)))
    assert_engines_agree(tile, mask, far, 1.0)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.uint8, (7, 6, 3), elements=st.sampled_from([0, 80, 81, 180, 255])),
    hnp.arrays(np.bool_, (7, 6)),
    st.sampled_from([0.25, 1.0, 4.0]),
)
def test_every_tile_gives_finite_values(tile: np.ndarray, mask: np.ndarray, mpp: float) -> None:
    values, names = extract(tile[None], mask[None], FAST, mpp)
    assert values.shape == (1, len(names))
    assert np.isfinite(values).all()


def test_nothing_in_the_mask_gives_zeros_and_no_texture_without_neighbours() -> None:
    by_name = {name: (tile, mask) for name, tile, mask in degenerate()}
    tile, mask = by_name["empty mask"]
    assert not extract(tile[None], mask[None], FAST, 1.0)[0].any()
    tile, mask = by_name["pixels that do not touch"]
    values, names = extract(tile[None], mask[None], everything(), 1.0)
    texture = np.array(["_glcm_" in name for name in names])
    assert not values[0, texture].any()
    assert values[0, ~texture].any()


def test_one_colour_has_the_values_that_pyradiomics_gives_it() -> None:
    """Except Skewness and Kurtosis, which in pyradiomics depend on the rounding of the mean."""
    tile, mask = np.full((9, 9, 3), (180, 90, 150), np.uint8), np.ones((9, 9), bool)
    values, names = extract(tile[None], mask[None], everything(), 1.0)
    theirs = by_extractor(tile, mask, everything())
    for name, value in zip(names, values[0], strict=True):
        if not name.endswith(("Skewness", "Kurtosis")):
            assert value == pytest.approx(theirs[name], rel=1e-9, abs=1e-9), name
    found = dict(zip(names, values[0], strict=True))
    assert found["eosin_tissue_glcm_MCC"] == found["eosin_tissue_glcm_Correlation"] == 1


def batch(count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    pairs = [random_tile(seed, 40, 36) for seed in range(count)]
    return np.stack([tile for tile, _ in pairs]), np.stack([mask for _, mask in pairs])


def test_a_batch_equals_its_tiles_in_any_order() -> None:
    tiles, masks = batch()
    together, names = extract(tiles, masks, FAST, 1.0)
    assert names == FAST.names
    assert together.dtype == np.float64
    singles = np.concatenate([extract(tiles[k : k + 1], masks[k : k + 1], FAST, 1.0)[0] for k in range(5)])
    np.testing.assert_array_equal(together, singles)
    order = [3, 0, 4, 1, 2]
    np.testing.assert_array_equal(extract(tiles[order], masks[order], FAST, 1.0)[0], together[order])


def test_columns_follow_the_recipe_and_do_not_depend_on_its_other_features() -> None:
    tiles, masks = batch(2)
    everything, names = extract(tiles, masks, FAST, 1.0)
    chosen = (names[-1], names[40], names[3], names[-10])
    some = Recipe("some", tuple(FAST.features[names.index(name)] for name in chosen))
    values, columns = extract(tiles, masks, some, 1.0)
    assert columns == chosen
    np.testing.assert_array_equal(values, everything[:, [names.index(name) for name in chosen]])


def test_an_empty_batch_has_columns_and_no_rows() -> None:
    values, names = extract(np.empty((0, 8, 8, 3), np.uint8), np.empty((0, 8, 8), bool), FAST, 1.0)
    assert values.shape == (0, len(names))


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_a_recipe_without_features_has_rows_and_no_columns(
    engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tiles, masks = batch(3)
    with caplog.at_level("INFO"):
        prepare(RECIPES["none"], 1.0, engine)
    assert caplog.text == ""
    values, names = extract(tiles, masks, RECIPES["none"], 1.0, engine=engine)
    assert (values.shape, values.dtype, names) == ((3, 0), np.float64, ())
    with pytest.raises(ValueError, match="masks are bool"):
        extract(tiles, masks.astype(np.uint8), RECIPES["none"], 1.0, engine=engine)


def test_threads_give_the_same_bits() -> None:
    tiles, masks = batch(4)
    expected, _ = extract(tiles, masks, FAST, 1.0)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: extract(tiles, masks, FAST, 1.0)[0], range(8)))
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_the_call_can_be_sent_to_another_process() -> None:
    call = pickle.loads(pickle.dumps(partial(extract, recipe=FAST, mpp=1.0)))  # noqa: S301  (our own bytes)
    tiles, masks = batch(1)
    np.testing.assert_array_equal(call(tiles, masks)[0], extract(tiles, masks, FAST, 1.0)[0])


def test_pyradiomics_prints_and_logs_nothing(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    tiles, masks = batch(1)
    extract(tiles, masks, everything(channels=OD_CHANNELS), 1.0, engine="reference")
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]


def test_densities_beyond_the_range_fall_into_the_last_bin() -> None:
    tile = np.zeros((4, 4, 3), np.uint8)
    tile[:2] = 40  # grey density 1.83, in bin 30 of 32; black is 5.5
    recipe = Recipe(
        "own", (Feature("glcm", "JointAverage", "grey"), Feature("firstorder", "Maximum", "grey"))
    )
    values, _ = extract(tile[None], np.ones((1, 4, 4), bool), recipe, 1.0)
    levels = np.array([1.0, 32 - 30 + 1])
    assert values[0, 1] == pytest.approx(2.0)
    # Rows pair evenly within and across; every level is counted alike, whatever the direction.
    assert values[0, 0] == pytest.approx(levels.mean())


def test_an_unknown_engine_is_refused() -> None:
    tiles, masks = batch(1)
    with pytest.raises(ValueError, match="engine is 'compiled' or 'reference', not 'fast'"):
        extract(tiles, masks, FAST, 1.0, engine="fast")  # type: ignore[arg-type]  # the fault under test


def test_preparing_says_how_long_it_took(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        prepare(FAST, 1.0)
    assert "compiled radiomics engine ready in" in caplog.text


@pytest.mark.parametrize(
    ("tiles", "masks", "mpp", "message"),
    [
        (np.zeros((1, 4, 4, 3), np.float32), np.ones((1, 4, 4), bool), 1.0, "tiles are uint8"),
        (np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), bool), 1.0, "tiles are uint8"),
        (np.zeros((1, 4, 4, 3), np.uint8), np.ones((1, 4, 5), bool), 1.0, "masks are bool"),
        (np.zeros((1, 4, 4, 3), np.uint8), np.ones((1, 4, 4), np.uint8), 1.0, "masks are bool"),
        (np.zeros((1, 4, 4, 3), np.uint8), np.ones((1, 4, 4), bool), 0.0, "mpp is"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    tiles: np.ndarray, masks: np.ndarray, mpp: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        extract(tiles, masks, FAST, mpp)
