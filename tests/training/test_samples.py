"""Samples of training: crops in several views, with backbone features and radiomics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.training_tiles import STILL, painted_tiles, save_tile, tiny, views_of
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.model.network import Backbone
from wsi_necrosis.radiomics.extraction import extract
from wsi_necrosis.radiomics.recipe import find_recipe
from wsi_necrosis.slides.phantom import phantom_tiles
from wsi_necrosis.tiling.foreground import foreground
from wsi_necrosis.training import samples as module
from wsi_necrosis.training.backbones import initial_backbone
from wsi_necrosis.training.samples import (
    SampleCache,
    Samples,
    measure,
    pooled_views,
    radiomic_views,
    recipe_of,
)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> tuple[LabelledTile, ...]:
    return painted_tiles(tmp_path_factory.mktemp("tiles"))


@pytest.fixture(scope="module")
def samples(tiles: Sequence[LabelledTile]) -> Samples:
    return SampleCache(tiles).samples(tiny())


def test_samples_have_a_row_per_crop(samples: Samples, tiles: tuple[LabelledTile, ...]) -> None:
    m = 18 * 4
    assert len(samples) == m
    assert samples.tiles == tiles
    assert samples.pixels.shape == (m, 32, 32, 3)
    assert samples.pooled.shape == (m, 2, 256)
    assert samples.features.shape == (m, 2, 3)
    assert samples.recipe == find_recipe("phantom")
    np.testing.assert_array_equal(samples.owner, np.repeat(np.arange(18), 4))
    np.testing.assert_array_equal(samples.truth, np.repeat([tile.truth for tile in tiles], 4, axis=0))


def test_a_crop_is_a_part_of_its_picture(samples: Samples) -> None:
    with Image.open(samples.tiles[5].path) as image:
        whole = np.asarray(image, np.float64).reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
    places = [whole[top : top + 32, left : left + 32] for top in (0, 16) for left in (0, 16)]
    np.testing.assert_allclose(samples.pixels[samples.owner == 5], places, atol=0.51)


def test_tiles_may_differ_in_their_count_of_crops(uneven: Samples) -> None:
    np.testing.assert_array_equal(np.bincount(uneven.owner), [1, 2, 4])
    np.testing.assert_array_equal(uneven.truth.sum(axis=0), [1, 2, 4])


def test_some_tiles_have_their_own_samples(uneven: Samples) -> None:
    """In the order of the samples, not in that of the question."""
    some = uneven.only([uneven.tiles[2], uneven.tiles[0]])
    assert some.tiles == (uneven.tiles[0], uneven.tiles[2])
    rows = uneven.rows(some.tiles)
    np.testing.assert_array_equal(rows, [1, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(some.owner, [0, 1, 1, 1, 1])
    for name in ("pixels", "pooled", "features", "truth"):
        np.testing.assert_array_equal(getattr(some, name), getattr(uneven, name)[rows])
    assert some.only([uneven.tiles[2]]).owner.tolist() == [0] * 4
    assert len(uneven.only([])) == 0


def test_the_mean_over_a_tile_is_over_its_own_crops(uneven: Samples) -> None:
    values = np.array([[8.0, 1.0], [1.0, 0.0], [3.0, 0.0], [1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [6.0, 5.0]])
    np.testing.assert_allclose(uneven.by_tile(values), [[8, 1], [2, 0], [3, 5]])
    np.testing.assert_allclose(uneven.by_tile(values[:, 0]), [8, 2, 3])


def test_fewer_tiles_or_more_workers_change_no_features(samples: Samples) -> None:
    alone = SampleCache(samples.tiles[6:9]).samples(tiny("crops.workers=3"))
    here = samples.only(samples.tiles[6:9])
    np.testing.assert_array_equal(alone.pixels, here.pixels)
    np.testing.assert_array_equal(alone.features, here.features)
    np.testing.assert_allclose(alone.pooled, here.pooled, rtol=1e-4, atol=1e-6)


def test_workers_do_not_change_a_bit(samples: Samples) -> None:
    again = SampleCache(samples.tiles).samples(tiny("crops.workers=3"))
    np.testing.assert_array_equal(again.features, samples.features)
    np.testing.assert_array_equal(again.pooled, samples.pooled)


def test_radiomics_are_those_of_the_very_pixels_of_each_view(samples: Samples) -> None:
    views = views_of(samples)
    for row in (0, 17, 71):
        pixels = views.of(row)
        direct, _ = extract(pixels, foreground(pixels), samples.recipe, 1.0)
        np.testing.assert_array_equal(samples.features[row], direct)
        np.testing.assert_array_equal(measure(pixels, samples.recipe, 1.0), direct)
        assert not np.allclose(direct[0], direct[1], rtol=1e-3)


def test_radiomics_of_turned_views_are_computed_once(
    samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turns do not change them: they are those of the first view, and equal to those of the others."""
    views = views_of(samples.only(samples.tiles[:2]), "crops.views=8", *STILL)
    recipe = find_recipe("fast")
    direct = np.stack([measure(views.of(row), recipe, 1.0) for row in range(8)])
    counted: list[int] = []
    monkeypatch.setattr(module, "measure", lambda *args: counted.append(len(args[0])) or measure(*args))
    found = radiomic_views(views, recipe)
    assert counted == [1] * 8
    assert found.shape == direct.shape
    np.testing.assert_allclose(found, direct, rtol=1e-6, atol=1e-9)


def test_backbone_features_are_those_of_each_view(samples: Samples) -> None:
    backbone = initial_backbone(tiny().network, tiny().fit.seed)
    with torch.inference_mode():
        direct = backbone(torch.from_numpy(views_of(samples).of(21))).numpy()
    np.testing.assert_allclose(samples.pooled[21], direct, rtol=1e-4, atol=1e-6)
    assert not np.allclose(direct[0], direct[1], rtol=1e-3)


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_backbone_features_come_in_order_whatever_the_batch(samples: Samples, batch: int) -> None:
    backbone = initial_backbone(tiny().network, tiny().fit.seed)
    found = pooled_views(views_of(samples, f"crops.batch={batch}"), backbone)
    np.testing.assert_allclose(found, samples.pooled, rtol=1e-3, atol=1e-5)


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with module.intra_op_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    with pytest.raises(RuntimeError), module.intra_op_threads(before + 1):
        raise RuntimeError
    assert torch.get_num_threads() == before


class Counted:
    """Counts calls of the slow steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        for name in ("cut_crops", "radiomic_views", "pooled_views", "initial_backbone"):
            self._watch(monkeypatch, name)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        inner = getattr(module, name)

        def outer(*args: object) -> object:
            self.calls.append(name)
            return inner(*args)

        monkeypatch.setattr(module, name, outer)

    def during(self, cache: SampleCache, *overrides: str) -> dict[str, int]:
        """How often each was called for samples under these settings."""
        self.calls.clear()
        cache.samples(tiny(*overrides))
        return {name: self.calls.count(name) for name in dict.fromkeys(self.calls)}


def test_a_cache_computes_nothing_twice(
    tiles: Sequence[LabelledTile], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, cache = Counted(monkeypatch), SampleCache(tiles[:2])
    features = {"radiomic_views": 1}
    backbone = {"initial_backbone": 1, "pooled_views": 1}
    assert counted.during(cache) == {"cut_crops": 2, **features, **backbone}
    for shared in (
        "fit.loss=flat",
        "network.fusion=concat",
        "fit.epochs=3",
        "network.hidden=16",
        "fit.seed=5",
    ):
        found = counted.during(cache, shared)
        # weights of a random backbone are those of the seed
        assert found == (backbone if shared == "fit.seed=5" else {}), shared
    assert counted.during(cache, "network.recipe=paper") == features
    assert counted.during(cache, "network.mean=[0, 0, 0]") == backbone
    assert counted.during(cache, "crops.views=3") == {**features, **backbone}
    assert counted.during(cache, "crops.per_side=1") == {"cut_crops": 2, **features, **backbone}
    assert counted.during(cache, "network.fusion=radiomics") == {}


def test_settings_that_differ_share_no_samples(tiles: Sequence[LabelledTile]) -> None:
    """Samples do not depend on settings that were asked for before, and differ between settings."""
    cache, some = SampleCache(tiles[:6:2]), tiles[:6:2]
    settings = ("fit.seed=5", "network.std=[1, 1, 1]", "crops.jitter=0.3", "crops.normalise=reinhard")
    plain = cache.samples(tiny())
    for override in settings:
        here, alone = cache.samples(tiny(override)), SampleCache(some).samples(tiny(override))
        for name in ("pixels", "pooled", "features"):
            np.testing.assert_array_equal(getattr(here, name), getattr(alone, name))
        assert not np.array_equal(here.pooled, plain.pooled)


@pytest.mark.parametrize(
    ("overrides", "pooled", "features"),
    [
        (("network.fusion=image",), 256, 0),
        (("network.fusion=radiomics",), 0, 3),
        (("network.fusion=concat",), 256, 3),
        (("fit.tune=full",), 0, 3),
        (("fit.tune=head", "network.fusion=image"), 0, 0),
    ],
)
def test_a_branch_that_is_not_there_has_no_columns(
    tiles: Sequence[LabelledTile], overrides: tuple[str, ...], pooled: int, features: int
) -> None:
    found = SampleCache(tiles[:2]).samples(tiny(*overrides))
    views = 1 if "fit.tune" in overrides[0] else 2  # crops that vary anew are not varied beforehand
    assert found.pooled.shape == (8, views, pooled)
    assert found.features.shape == (8, views, features)
    assert recipe_of(tiny(*overrides).network).name == ("phantom" if features else "none")


def stained(folder: Path, slides: Sequence[str], tint: Sequence[int]) -> list[LabelledTile]:
    """Tiles half viable, half stroma; each with so many grey levels taken off its red."""
    rng = np.random.default_rng(8)
    left, right = (phantom_tiles(name, len(slides), 96, rng, mpp_um=0.5) for name in ("viable", "non_tumour"))
    pictures = np.concatenate([left[:, :, :48], right[:, :, 48:]], axis=2).astype(np.int16)
    pictures[..., 0] -= np.array(tint)[:, None, None]
    return [
        save_tile(folder / f"{at}.png", np.clip(pixels, 0, 255).astype(np.uint8), 0, slide[0], slide)
        for at, (slide, pixels) in enumerate(zip(slides, pictures, strict=True))
    ]


@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_stains_are_normalised_by_slide(tmp_path: Path, method: str) -> None:
    """Tiles of other slides do not matter; tiles of the same slide do."""
    tiles = stained(tmp_path, ["A1", "A1", "A2", "B1"], [0, 20, 40, 60])
    settings = tiny(f"crops.normalise={method}")
    plain, together = SampleCache(tiles).samples(tiny()), SampleCache(tiles).samples(settings)
    assert not np.array_equal(plain.pixels, together.pixels)
    assert not np.array_equal(plain.features, together.features)
    assert not np.array_equal(plain.pooled, together.pooled)
    slide = SampleCache(tiles[:2]).samples(settings)
    np.testing.assert_array_equal(together.only(tiles[:2]).pixels, slide.pixels)
    half = SampleCache(tiles[:1]).samples(settings)
    assert not np.array_equal(together.only(tiles[:1]).pixels, half.pixels)


def test_slides_of_one_name_in_two_cases_are_two(tmp_path: Path) -> None:
    tiles = stained(tmp_path, ["A1", "B1"], [0, 50])
    renamed = [replace(tile, slide="1") for tile in tiles]
    settings = tiny("crops.normalise=macenko")
    np.testing.assert_array_equal(
        SampleCache(renamed).samples(settings).pixels, SampleCache(tiles).samples(settings).pixels
    )


def test_a_frozen_backbone_gives_the_same_for_a_batch_on_its_own(samples: Samples) -> None:
    """Its BatchNorms use their stored statistics; a crop's features are not those of its batch."""
    backbone: Backbone = initial_backbone(tiny().network, tiny().fit.seed)
    one = module.pooled_of(backbone, samples.pixels[:1], "cpu")
    many = module.pooled_of(backbone, samples.pixels[:8], "cpu")
    np.testing.assert_allclose(one[0], many[0], rtol=1e-4, atol=1e-6)
