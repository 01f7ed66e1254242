"""Views of crops: turned, and varied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.training_tiles import STILL, tiny, views_of
from wsi_necrosis.dataset.labels import CERTAIN
from wsi_necrosis.radiomics.recipe import find_recipe
from wsi_necrosis.settings.train import VARIATIONS
from wsi_necrosis.stain.imaging import defocus, draw_light, relight
from wsi_necrosis.stain.recolour import draw_jitter, jitter_stains
from wsi_necrosis.training.samples import Samples, measure
from wsi_necrosis.training.views import Views, vary


def test_pure_turns_and_mirrors_are_all_there_are(uneven: Samples) -> None:
    """Without jitter: eight pictures of the same pixels, no two alike, and the first as it was."""
    views = views_of(uneven, "crops.views=8", *STILL)
    crop = uneven.pixels[3]
    found = [view.tobytes() for view in views.of(3)]
    expected = [np.rot90(some, quarters) for some in (crop, crop[:, ::-1]) for quarters in range(4)]
    assert len(set(found)) == 8
    assert set(found) == {np.ascontiguousarray(view).tobytes() for view in expected}
    assert found[0] == crop.tobytes()


@given(views=st.integers(1, 8), row=st.integers(0, 6))
def test_the_first_view_is_the_crop_as_it_is(uneven: Samples, views: int, row: int) -> None:
    found = views_of(uneven, f"crops.views={views}").of(row)
    assert found.shape == (views, 32, 32, 3)
    np.testing.assert_array_equal(found[0], uneven.pixels[row])
    assert len({view.tobytes() for view in found}) == views


def test_variation_is_on_top_of_a_turn(samples: Samples) -> None:
    """Stains first, then focus, then light, each by what is drawn for it."""
    crop, crops = samples.pixels[20], tiny().crops
    for turn in range(8):
        found = vary(crop, turn, np.random.default_rng(turn), crops)
        still = vary(crop, turn, np.random.default_rng(0), tiny(*STILL).crops)
        rng = np.random.default_rng(turn)
        expected = jitter_stains(still, *draw_jitter(rng, crops.jitter, crops.jitter_od))
        expected = defocus(expected, rng.uniform(0, crops.defocus_um), crops.mpp_um)
        light = draw_light(rng, crops.brightness, crops.white_balance, crops.gamma)
        np.testing.assert_array_equal(found, relight(expected, light))
        assert not np.array_equal(found, still)
        assert found.flags.c_contiguous


@pytest.mark.parametrize("name", VARIATIONS)
def test_each_variation_alone_changes_views_and_their_radiomics(samples: Samples, name: str) -> None:
    """And none at strength 0."""
    views = views_of(samples, *STILL, f"crops.{name}={3 if name == 'defocus_um' else 0.5}")
    assert views.crops.varies
    assert not views_of(samples, *STILL).crops.varies
    pixels = views.of(20)[1]
    turned = views_of(samples, *STILL).of(20)[1]
    assert not np.array_equal(pixels, turned)
    np.testing.assert_array_equal(pixels, views.of(20)[1])
    first, second = measure(np.stack([pixels, turned]), find_recipe("paper"), 1.0)
    assert not np.allclose(first, second, rtol=1e-3)


def test_each_view_is_varied_by_itself(samples: Samples) -> None:
    means = views_of(samples, "crops.views=8").of(20).mean(axis=(1, 2))
    assert len(np.unique(means.round(2), axis=0)) == 8
    same = views_of(samples, "crops.views=8", *STILL).of(20).mean(axis=(1, 2))
    np.testing.assert_allclose(same, same[:1].repeat(8, axis=0))


@given(data=st.data())
def test_views_do_not_depend_on_the_tiles_beside(uneven: Samples, data: st.DataObject) -> None:
    """A tile's own content decides: neither its neighbours, nor its place, its name, case or label."""
    order = data.draw(st.permutations(range(3)).filter(lambda order: order != (0, 1, 2)))
    count = data.draw(st.integers(1, 3))
    chosen = [
        replace(uneven.tiles[at], path=Path("moved"), case="Z", truth=CERTAIN[0]) for at in order[:count]
    ]
    rows = [np.flatnonzero(uneven.owner == at) for at in order[:count]]
    owner = np.repeat(np.arange(count), [len(some) for some in rows])
    before, after = (
        views_of(uneven),
        Views(tuple(chosen), owner, uneven.pixels[np.concatenate(rows)], tiny().crops),
    )
    for at, row in enumerate(np.concatenate(rows)):
        np.testing.assert_array_equal(after.of(at), before.of(int(row)))
