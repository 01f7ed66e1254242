from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers.training_tiles import tiny
from wsi_necrosis.training import leave_case_out
from wsi_necrosis.training.backbones import initial_backbone
from wsi_necrosis.training.importance import importance
from wsi_necrosis.training.leave_case_out import FitSetup
from wsi_necrosis.training.samples import SampleCache, Samples, intra_op_threads

COLUMNS = ("haematoxylin", "eosin", "grey")  # of the recipe `phantom`, a group each


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with intra_op_threads(1):
        yield


def informed_by(samples: Samples, informative: str) -> Samples:
    """Inputs of noise, except one that depends on the class: the image, or a column of radiomics."""
    rng = np.random.default_rng(6)
    classes = samples.truth.argmax(axis=1)
    pooled = rng.normal(0, 1, (len(samples), 2, 6)).astype(np.float32)
    features = rng.normal(0, 1, (len(samples), 2, 3))
    if informative == "image":
        pooled[:, :, :3] = 2 * np.eye(3)[classes][:, None]
    else:
        column = COLUMNS.index(informative)
        features[..., column] = classes[:, None] - 1 + rng.normal(0, 0.05, (len(samples), 2))
    return replace(samples, pooled=pooled, features=features)


@pytest.mark.parametrize("informative", ["image", "haematoxylin", "grey"])
def test_the_only_informative_group_matters_most(samples: Samples, informative: str) -> None:
    some, settings = informed_by(samples, informative), tiny("fit.learning_rate=3e-2")
    found = importance(FitSetup(some, None, settings), [1, 2], np.random.default_rng(1))
    groups = {name: f"{name} firstorder (tissue)" for name in COLUMNS}
    assert list(found) == ["image", "radiomics", *groups.values()]
    alone = {name: value for name, value in found.items() if name != "radiomics"}
    first = groups.get(informative, informative)
    assert alone.pop(first) > 0.3
    assert max(map(abs, alone.values())) < 0.1
    assert (found["radiomics"] > 0.3) == (informative != "image")


def test_the_image_of_a_tuned_backbone_is_shuffled_too(samples: Samples) -> None:
    """It looks at pixels, not at features that were kept."""
    settings = tiny("fit.tune=head", "fit.epochs=6")
    still = replace(samples, pooled=samples.pooled[..., :0], features=np.zeros_like(samples.features))
    setup = FitSetup(still, initial_backbone(settings.network, 1), settings)
    found = importance(setup, [1], np.random.default_rng(1))
    assert found.pop("image") > 0.05
    assert set(found.values()) == {0}


def test_a_network_without_radiomics_has_no_such_group(samples: Samples) -> None:
    settings = tiny("fit.epochs=2", "network.fusion=image")
    alone = SampleCache(samples.tiles).samples(settings)
    assert list(importance(FitSetup(alone, None, settings), [1], np.random.default_rng(1))) == ["image"]


def test_crops_are_shuffled_within_their_case(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both views of a crop together, and the columns of a group together; nothing else moves."""
    asked: list[Samples] = []
    predict = leave_case_out.predict
    monkeypatch.setattr(
        leave_case_out,
        "predict",
        lambda fitted, some, settings: asked.append(some) or predict(fitted, some, settings),
    )
    importance(FitSetup(samples, None, tiny("fit.epochs=1")), [1], np.random.default_rng(1))
    assert len(asked) == 3 * 6
    for case, start in zip("ABC", range(0, 18, 6), strict=True):
        before = samples.only([tile for tile in samples.tiles if tile.case == case])
        plain, image, radiomics, first = asked[start : start + 4]
        assert [some.tiles for some in asked[start : start + 6]] == [before.tiles] * 6
        np.testing.assert_array_equal(plain.features, before.features)
        np.testing.assert_array_equal(image.features, before.features)
        assert moved(image.pooled, before.pooled)
        assert moved(radiomics.features, before.features)
        np.testing.assert_array_equal(radiomics.pooled, before.pooled)
        assert moved(first.features[..., :1], before.features[..., :1])
        np.testing.assert_array_equal(first.features[..., 1:], before.features[..., 1:])


def moved(after: NDArray[np.generic], before: NDArray[np.generic]) -> bool:
    """The same crops, in another order."""
    rows = [sorted(crop.tobytes() for crop in some) for some in (after, before)]
    return rows[0] == rows[1] and not np.array_equal(after, before)


@pytest.mark.slow
def test_two_processes_give_the_same_as_none(samples: Samples) -> None:
    setup = FitSetup(samples, None, tiny("fit.epochs=2"))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        matters = importance(setup, [1, 2], np.random.default_rng(1), pool)
    assert matters == importance(setup, [1, 2], np.random.default_rng(1))
