from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from tests.helpers.training_tiles import STILL, painted_tiles, tiny
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.errors import StoreError
from wsi_necrosis.model.network import Backbone, Shape, mean_prob
from wsi_necrosis.model.standardise import Standardiser
from wsi_necrosis.settings.train import TrainSettings
from wsi_necrosis.training import batches
from wsi_necrosis.training import fit as fit_module
from wsi_necrosis.training.backbones import initial_backbone
from wsi_necrosis.training.fit import Epoch, Fitted, Predicted, ResumePoint, fit, predict
from wsi_necrosis.training.fit_state import heads_of, shape_of
from wsi_necrosis.training.losses import squared_weights
from wsi_necrosis.training.samples import SampleCache, Samples, intra_op_threads

EPOCHS, BATCHES = 3, 5  # of 36 crops by 8, the last of 4
STEPS = EPOCHS * BATCHES
EVERY = 3
STOPPING_SEED = 4  # seed of fits whose second epoch is the best on the inner case
FUSIONS = ("gate", "concat", "mean", "image", "radiomics")
LOSSES = ("hierarchical", "paper", "fixed", "flat")


class InterruptionError(Exception):
    """What stops a fit in these tests."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """The bits of a fit depend on the number of threads."""
    with intra_op_threads(1):
        yield


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> tuple[LabelledTile, ...]:
    """One of each material in three cases."""
    return painted_tiles(tmp_path_factory.mktemp("tiles"), each=1)


@pytest.fixture(scope="module")
def cache(tiles: Sequence[LabelledTile]) -> SampleCache:
    return SampleCache(tiles)


@pytest.fixture(scope="module")
def samples(cache: SampleCache) -> Samples:
    """Thirty-six crops in two views."""
    return cache.samples(short())


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return initial_backbone(tiny().network, 1)


@pytest.fixture(scope="module")
def noisy(samples: Samples) -> Samples:
    """Crops of which three of forty features weakly depend on the class; a long fit overfits the other ones."""
    rng = np.random.default_rng(1)
    signal = 0.8 * np.eye(3, 40)[samples.truth.argmax(axis=1)][:, None]
    pooled = (rng.normal(0, 1, (len(samples), 2, 40)) + signal).astype(np.float32)
    return replace(samples, pooled=pooled, features=rng.normal(0, 1, samples.features.shape))


def short(*overrides: str) -> TrainSettings:
    return tiny(f"fit.epochs={EPOCHS}", f"fit.save_every={EVERY}", *overrides)


def state(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    return {name: tensor.detach().numpy().copy() for name, tensor in module.state_dict().items()}


def equal_state(one: nn.Module, other: nn.Module) -> bool:
    first, second = state(one), state(other)
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def changed(before: nn.Module, after: nn.Module) -> set[str]:
    """Names of the tensors that differ."""
    first, second = state(before), state(after)
    return {name for name in first if not np.array_equal(first[name], second[name])}


def assert_same_fit(found: Fitted, expected: Fitted) -> None:
    """Every bit of the weights, the scaling and the history."""
    assert equal_state(found.classifier, expected.classifier)
    assert found.standardise == expected.standardise
    assert (found.backbone is None) == (expected.backbone is None)
    if found.backbone is not None and expected.backbone is not None:
        assert equal_state(found.backbone, expected.backbone)
    np.testing.assert_array_equal(np.array(found.history), np.array(expected.history))


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Raise once, after the weights of this step were changed and before it is counted."""
    count, done = fit_module._count, [0]

    def counting(*args: object) -> None:
        done[0] += 1
        if done[0] == step:
            raise InterruptionError
        count(*args)

    monkeypatch.setattr(fit_module, "_count", counting)


def interrupted(
    fit_with: Callable[[ResumePoint], Fitted], resume: ResumePoint, stops: Sequence[int]
) -> Fitted:
    """A fit that is interrupted in each of these steps, counted from its last start, and then runs to its end."""
    for step in stops:
        with pytest.MonkeyPatch.context() as monkeypatch:
            stop_at(monkeypatch, step)
            with pytest.raises(InterruptionError):
                fit_with(resume)
    return fit_with(resume)


# Determinism


@pytest.mark.parametrize("tune", ["frozen", "head", "full"])
def test_the_same_seed_gives_the_same_bits(samples: Samples, backbone: Backbone, tune: str) -> None:
    settings = tiny("fit.epochs=2", f"fit.tune={tune}")
    torch.rand(1)  # wherever the global generator stands
    before = torch.random.get_rng_state()
    first = fit(samples, backbone, settings, 1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)
    assert_same_fit(fit(samples, backbone, settings, 1), first)
    other = fit(samples, backbone, settings, 2)
    weights = {name for name in changed(first.classifier, other.classifier) if name.endswith("weight")}
    assert weights == {name for name in state(first.classifier) if name.endswith("weight")}


def test_the_seed_decides_order_views_and_dropout_too(samples: Samples) -> None:
    """Not the first weights alone: they hardly change at this learning rate, so losses differ by the rest."""
    settings = tiny("fit.epochs=1", "fit.learning_rate=1e-12", "fit.weight_decay=0")
    losses = [fit(samples, None, settings, seed).history[0].loss for seed in (1, 2)]
    assert losses[0] != losses[1]
    again = tiny("fit.epochs=2", "fit.learning_rate=1e-12", "fit.weight_decay=0")
    first, second = fit(samples, None, again, 1).history
    assert first.loss == losses[0]
    assert second.loss != first.loss  # other views and dropout in each epoch


def test_the_history_has_each_epoch_and_watch_is_called_for_each(samples: Samples) -> None:
    told: list[Epoch] = []
    fitted = fit(samples, None, short(), 1, watch=told.append)
    np.testing.assert_array_equal(np.array(told), np.array(fitted.history))
    assert [epoch.epoch for epoch in told] == [1, 2, 3]
    assert np.isnan([epoch.inner for epoch in told]).all()
    assert told[-1].loss < told[0].loss
    assert told[0].weight_coarse != 1
    assert (told[0].weight_coarse, told[0].weight_fine) != (told[1].weight_coarse, told[1].weight_fine)


# Interruption


def stopping(patience: int) -> TrainSettings:
    """Four steps an epoch, so fast that the second is the best, if one is looked for."""
    epochs = 8 if patience else 3
    return tiny(f"fit.epochs={epochs}", "fit.batch=6", "fit.learning_rate=0.2", f"fit.patience={patience}")


@pytest.fixture(scope="module")
def whole(samples: Samples) -> Fitted:
    """A fit with a frozen backbone that nothing interrupted."""
    return fit(samples, None, short(), 1)


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_an_interrupted_fit_ends_with_the_same_weights(
    samples: Samples, whole: Fitted, tmp_path: Path, step: int
) -> None:
    found = interrupted(
        lambda resume: fit(samples, None, short(), 1, resume), ResumePoint(tmp_path / "fit.pt", EVERY), [step]
    )
    assert_same_fit(found, whole)
    assert len(found.history) == EPOCHS


@pytest.mark.parametrize("step", range(1, 13))
def test_an_interrupted_fit_finds_its_best_epoch_again(
    noisy: Samples, uninterrupted: dict[int, Fitted], tmp_path: Path, step: int
) -> None:
    assert len(uninterrupted[1].history) == 3  # after the twelfth step, with the weights of the eighth
    found = interrupted(
        lambda resume: fit(noisy, None, stopping(1), STOPPING_SEED, resume),
        ResumePoint(tmp_path / "fit.pt", EVERY),
        [step],
    )
    assert_same_fit(found, uninterrupted[1])


@pytest.fixture(scope="module")
def uninterrupted(noisy: Samples) -> dict[int, Fitted]:
    """Fits that nothing interrupted, by patience."""
    return {patience: fit(noisy, None, stopping(patience), STOPPING_SEED) for patience in (0, 1, 2)}


@settings(max_examples=15)
@given(
    stops=st.lists(st.integers(1, 8), max_size=3),
    every=st.integers(2, 7),
    patience=st.sampled_from([0, 1, 2]),
)
def test_a_fit_interrupted_any_number_of_times_ends_with_the_same_weights(
    noisy: Samples,
    uninterrupted: dict[int, Fitted],
    tmp_path_factory: pytest.TempPathFactory,
    stops: list[int],
    every: int,
    patience: int,
) -> None:
    """Also before it has come to the next saved state."""

    def one(resume: ResumePoint) -> Fitted:
        return fit(noisy, None, stopping(patience), STOPPING_SEED, resume)

    resume = ResumePoint(tmp_path_factory.mktemp("resume") / "fit.pt", every)
    for step in stops:
        with pytest.MonkeyPatch.context() as monkeypatch, suppress(InterruptionError):
            stop_at(monkeypatch, step)
            one(resume)
    assert_same_fit(one(resume), uninterrupted[patience])


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_fit_interrupted_between_two_epochs_ends_with_the_same_weights(
    noisy: Samples, uninterrupted: dict[int, Fitted], tmp_path: Path, epoch: int
) -> None:
    """After the last step of an epoch and its loss on the inner case, before anything of it is saved."""

    def stop(found: Epoch) -> None:
        if found.epoch == epoch:
            raise InterruptionError

    for patience in (0, 1):
        for every in (EVERY, 4):  # a state each epoch, at its last step
            resume = ResumePoint(tmp_path / f"{patience}-{every}.pt", every)
            with pytest.raises(InterruptionError):
                fit(noisy, None, stopping(patience), STOPPING_SEED, resume, stop)
            assert_same_fit(
                fit(noisy, None, stopping(patience), STOPPING_SEED, resume), uninterrupted[patience]
            )


class Tuned(NamedTuple):
    """A fit of the whole backbone with four steps an epoch, and its result without an interruption."""

    run: Callable[..., Fitted]
    whole: Fitted


@pytest.fixture(scope="module")
def tuned(samples: Samples, backbone: Backbone) -> Tuned:
    settings = tiny("fit.tune=full", "fit.epochs=2", "fit.batch=6", "fit.backbone_learning_rate=1e-2")
    two_cases = samples.only([tile for tile in samples.tiles if tile.case != "C"])

    def run(resume: ResumePoint | None = None) -> Fitted:
        return fit(two_cases, backbone, settings, 1, resume)

    return Tuned(run, run())


@pytest.mark.parametrize("step", [1, 3, 4, 5, 8])
def test_an_interrupted_fit_of_the_backbone_ends_with_the_same_weights(
    tuned: Tuned, tmp_path: Path, step: int
) -> None:
    """In its first step, just before and after a saved state, after an epoch, and in its last step."""
    assert_same_fit(interrupted(tuned.run, ResumePoint(tmp_path / "fit.pt", EVERY), [step]), tuned.whole)


def test_a_fit_goes_on_from_its_saved_state(
    samples: Samples, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    resume = ResumePoint(tmp_path / "not" / "there" / "yet" / "fit.pt", EVERY)
    done = []
    with caplog.at_level(logging.INFO), pytest.MonkeyPatch.context() as monkeypatch:
        interrupted(lambda resume: fit(samples, None, short(), 1, resume), resume, [8, 2])
        assert "going on at step 6 of fit.pt" in caplog.text
        count = fit_module._count
        monkeypatch.setattr(fit_module, "_count", lambda *args: done.append(1) or count(*args))
        resume.path.unlink()
        fit(samples, None, short(), 1, resume)
    assert len(done) == STEPS
    assert [path.name for path in resume.path.parent.iterdir()] == ["fit.pt"]


@pytest.mark.parametrize("patience", [0, 1])
def test_a_finished_fit_is_given_back_at_once(
    noisy: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int
) -> None:
    resume = ResumePoint(tmp_path / "fit.pt", EVERY)
    expected = fit(noisy, None, stopping(patience), STOPPING_SEED, resume)
    stop_at(monkeypatch, 1)
    told: list[Epoch] = []
    assert_same_fit(fit(noisy, None, stopping(patience), STOPPING_SEED, resume, told.append), expected)
    assert told == []


def test_a_finished_fit_of_the_backbone_is_given_back_at_once(
    tuned: Tuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resume = ResumePoint(tmp_path / "fit.pt", EVERY)
    tuned.run(resume)
    stop_at(monkeypatch, 1)
    assert_same_fit(tuned.run(resume), tuned.whole)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"no state at all",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[len(data) // 2 :],
    ],
)
def test_a_damaged_state_is_refused_by_name(
    samples: Samples, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    resume = ResumePoint(tmp_path / "fit-123.pt", EVERY)
    fit(samples, None, short(), 1, resume)
    resume.path.write_bytes(damage(resume.path.read_bytes()))
    with pytest.raises(
        StoreError, match=r"fit-123.pt is no readable state of this fit .*; delete it to begin anew"
    ):
        fit(samples, None, short(), 1, resume)


@pytest.fixture(scope="module")
def saved(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """State of a finished fit."""
    path = tmp_path_factory.mktemp("saved") / "fit.pt"
    fit(samples, None, short(), 1, ResumePoint(path, EVERY))
    return path.read_bytes()


def test_a_flipped_bit_is_refused_or_changes_nothing(
    samples: Samples, whole: Fitted, saved: bytes, tmp_path: Path
) -> None:
    """Most of a state are numbers, which any bits could be; some of it is padding."""
    refused = 0
    resume = ResumePoint(tmp_path / "fit.pt", EVERY)
    for place in np.linspace(0, len(saved) - 1, 40).astype(int):
        data = bytearray(saved)
        data[place] ^= 1 << int(place) % 8
        resume.path.write_bytes(data)
        try:
            assert_same_fit(fit(samples, None, short(), 1, resume), whole)
        except StoreError:
            refused += 1
    assert refused > 25


def test_what_is_no_state_of_this_fit_is_refused(samples: Samples, tmp_path: Path) -> None:
    resume = ResumePoint(tmp_path / "fit.pt", EVERY)
    torch.save({"weights": {}}, resume.path)
    with pytest.raises(StoreError, match=r"fit.pt is no readable state"):
        fit(samples, None, short(), 1, resume)
    resume.path.unlink()
    fit(samples, None, short("network.hidden=16"), 1, resume)
    with pytest.raises(StoreError, match=r"fit.pt is no readable state"):
        fit(samples, None, short(), 1, resume)


def test_a_state_runs_no_code(samples: Samples, tmp_path: Path) -> None:
    resume = ResumePoint(tmp_path / "fit.pt", EVERY)
    torch.save({"step": Path("a pickle of any kind")}, resume.path)
    with pytest.raises(StoreError, match=r"fit.pt is no readable state"):
        fit(samples, None, short(), 1, resume)


# Which parts of the backbone are trained


def learned(backbone: Backbone, fitted: Fitted) -> set[str]:
    assert fitted.backbone is not None
    return changed(backbone.body, fitted.backbone.body)


@pytest.fixture(scope="module")
def untouched(backbone: Backbone) -> dict[str, NDArray[np.float32]]:
    return state(backbone)


@pytest.mark.parametrize(
    ("overrides", "groups"),
    [
        (("fit.tune=head",), 0),
        (("fit.tune=partial", "fit.tune_groups=1"), 1),
        (("fit.tune=partial", "fit.tune_groups=2"), 2),
        (("fit.tune=partial", "fit.tune_groups=99"), 5),
        (("fit.tune=full", "fit.tune_groups=1"), 5),
    ],
)
def test_the_given_number_of_last_groups_is_trained(
    samples: Samples,
    backbone: Backbone,
    untouched: dict[str, NDArray[np.float32]],
    overrides: tuple[str, ...],
    groups: int,
) -> None:
    """All their weights, and never the statistics of BatchNorms; the backbone that was given stays as it was."""
    fitted = fit(samples, backbone, tiny("fit.epochs=1", *overrides), 1)
    stages = ["stem.", *(f"stages.{at}." for at in range(4))][5 - groups :]
    names = [name for name, _ in backbone.body.named_parameters()]
    assert learned(backbone, fitted) == {name for name in names if name.startswith(tuple(stages))}
    assert all(np.array_equal(after, untouched[name]) for name, after in state(backbone).items())
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert fitted.backbone is not backbone
    assert not fitted.backbone.training
    assert not fitted.classifier.training


def test_a_frozen_backbone_does_not_change_a_fit(samples: Samples, backbone: Backbone) -> None:
    settings = tiny("fit.epochs=1")
    with_it, without = (fit(samples, given_, settings, 1) for given_ in (backbone, None))
    assert with_it.backbone is None
    assert_same_fit(with_it, without)


def test_radiomics_alone_have_no_backbone_to_tune(cache: SampleCache, backbone: Backbone) -> None:
    alone = tiny("fit.epochs=1", "network.fusion=radiomics", "fit.tune=full")
    assert fit(cache.samples(alone), backbone, alone, 1).backbone is None


def test_head_differs_from_frozen_only_where_crops_vary(
    cache: SampleCache, samples: Samples, backbone: Backbone
) -> None:
    """Where nothing varies both are one; where crops are turned or varied, they are not."""
    still = ("crops.views=1", *STILL, "fit.epochs=2", "fit.seed=1")
    frozen = fit(cache.samples(tiny(*still)), None, tiny(*still), 1)

    def gap(*overrides: str) -> float:
        """Largest difference of a weight."""
        head = fit(samples, backbone, tiny(*still, "fit.tune=head", *overrides), 1)
        found, expected = state(head.classifier), state(frozen.classifier)
        return max(
            float(np.abs(found[name] - expected[name]).max()) for name in found if "running" not in name
        )

    assert gap() < 1e-3
    assert gap("crops.views=2") > 1e-2
    assert gap("crops.jitter=0.1") > 1e-2


def test_crops_are_measured_as_they_are_varied(
    samples: Samples, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Radiomics of a batch are those of its varied pixels, and the backbone sees the same pixels."""
    measured, seen, measure = [], [], batches.measure
    monkeypatch.setattr(batches, "measure", lambda *args: measured.append(args[0]) or measure(*args))
    forward = Backbone.forward
    monkeypatch.setattr(
        Backbone, "forward", lambda self, pixels: seen.append(pixels.numpy()) or forward(self, pixels)
    )
    fit(samples, backbone, tiny("fit.epochs=2", "fit.tune=head"), 1)
    assert len(measured) == len(seen) == 2 * BATCHES
    for one, other in zip(measured, seen, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({crop.tobytes() for batch in measured for crop in batch}) == 2 * len(samples)


# Early stopping


@pytest.mark.parametrize("patience", [1, 3])
def test_a_fit_stops_early_with_the_weights_of_its_best_epoch(noisy: Samples, patience: int) -> None:
    def run(epochs: int) -> Fitted:
        return fit(noisy, None, tiny(f"fit.epochs={epochs}", f"fit.patience={patience}"), 1)

    long = run(60)
    inner = [epoch.inner for epoch in long.history]
    best = int(np.argmin(inner)) + 1
    assert 1 < best < 60
    assert len(inner) == best + patience
    exactly = run(best)
    assert equal_state(long.classifier, exactly.classifier)
    assert np.array_equal(np.array(exactly.history), np.array(long.history[:best]))
    assert not equal_state(long.classifier, run(best - 1).classifier)


def test_the_best_epoch_is_that_of_the_backbone_too(
    noisy: Samples, backbone: Backbone, tmp_path: Path
) -> None:
    """It is also found after an interruption in the following epoch; all epochs have three steps."""

    def run(epochs: int, resume: ResumePoint | None = None) -> Fitted:
        rates = ("fit.learning_rate=0.03", "fit.backbone_learning_rate=0.02")
        settings = tiny("fit.tune=full", *rates, "fit.patience=1", f"fit.epochs={epochs}")
        return fit(noisy, backbone, settings, 1, resume)

    long = run(8)
    best = int(np.argmin([epoch.inner for epoch in long.history])) + 1
    assert len(long.history) == best + 1
    exactly = run(best)
    assert exactly.backbone is not None
    assert long.backbone is not None
    assert equal_state(long.backbone, exactly.backbone)
    found = interrupted(lambda resume: run(8, resume), ResumePoint(tmp_path / "fit.pt", 2), [3 * best + 3])
    assert_same_fit(found, long)


def relabelled(samples: Samples, case: str) -> Samples:
    """Tiles of a case with the next class."""
    tiles = tuple(
        replace(tile, truth=tile.truth[-1:] + tile.truth[:-1]) if tile.case == case else tile
        for tile in samples.tiles
    )
    return replace(samples, tiles=tiles)


def test_the_inner_case_is_not_trained_on(noisy: Samples) -> None:
    """Its labels and radiomics only decide when to stop; it is case A, the first of cases of equal size."""
    settings = tiny("fit.epochs=1", "fit.patience=1")
    expected = fit(noisy, None, settings, 1)
    rows = noisy.rows([tile for tile in noisy.tiles if tile.case == "A"])
    features = np.where(rows[:, None, None], 7.0, noisy.features)
    odd = replace(noisy, features=features)
    fewer = noisy.only([tile for tile in noisy.tiles if tile.case != "A" or tile.label])
    for other in (relabelled(noisy, "A"), odd, fewer):
        found = fit(other, None, settings, 1)
        assert equal_state(found.classifier, expected.classifier)
        assert found.standardise == expected.standardise
        assert found.history[0].inner != expected.history[0].inner
    assert not equal_state(fit(relabelled(noisy, "B"), None, settings, 1).classifier, expected.classifier)


def test_no_fit_stops_early_where_no_case_can_be_spared(
    noisy: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    """Each case has a class that no other has."""
    pure = noisy.only([tile for tile in noisy.tiles if tile.label == "ABC".index(tile.case)])
    with caplog.at_level(logging.INFO):
        found = fit(pure, None, tiny("fit.epochs=20", "fit.patience=1"), 1)
    assert "no early stopping: no case can be spared" in caplog.text
    assert_same_fit(found, fit(pure, None, tiny("fit.epochs=20"), 1))
    assert len(found.history) == 20
    assert np.isnan([epoch.inner for epoch in found.history]).all()


def test_without_patience_nothing_is_logged(noisy: Samples, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        fit(noisy, None, tiny("fit.epochs=1"), 1)
    assert "early" not in caplog.text


# Every kind of network


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_network_under_every_loss(cache: SampleCache, fusion: str, loss: str) -> None:
    settings = tiny("fit.epochs=4", f"network.fusion={fusion}", f"fit.loss={loss}")
    samples = cache.samples(settings)
    fitted = fit(samples, None, settings, 1)
    found = predict(fitted, samples, settings)
    assert found.prob.shape == (len(samples), 3)
    assert found.prob.min() >= 0
    np.testing.assert_allclose(found.prob.sum(axis=1), 1, atol=1e-5)
    losses = [epoch.loss for epoch in fitted.history]
    assert losses[-1] < losses[0]
    assert_gate(found, fusion)
    assert heads_of(settings.fit) == ("flat" if loss == "flat" else "hierarchical")
    assert all(hasattr(heads, "flat") == (loss == "flat") for heads in fitted.classifier.heads)
    weights = np.array([(epoch.weight_coarse, epoch.weight_fine) for epoch in fitted.history])
    assert (weights == 1).all() == (loss in {"fixed", "flat"})


def assert_gate(found: Predicted, fusion: str) -> None:
    fixed = {"image": (1.0, 0.0), "radiomics": (0.0, 1.0), "concat": (np.nan, np.nan), "mean": (0.5, 0.5)}
    if fusion in fixed:
        np.testing.assert_array_equal(found.gate, np.tile(fixed[fusion], (len(found.prob), 1)))
    else:
        np.testing.assert_allclose(found.gate.sum(axis=1), 1, atol=1e-6)
        assert 0 < found.gate.min() < found.gate.max() < 1


# Linear heads


LINEAR = (
    "network.hidden=0", "fit.loss=flat", "fit.epochs=400", "fit.batch=512", "fit.learning_rate=0.05",
    "fit.weight_decay=0",
)  # fmt: skip


@pytest.mark.parametrize("l2", [0.01, 0.1])
def test_linear_heads_are_logistic_regression(noisy: Samples, l2: float) -> None:
    """Against scikit-learn's, on scaled features, with classes weighted by inverse frequency and C = 1 / (l2 n)."""
    uneven = noisy.only(noisy.tiles[:-1])  # the classes are no longer equally frequent
    once = replace(uneven, pooled=uneven.pooled[:, :1], features=uneven.features[:, :1])
    settings = tiny(*LINEAR, "network.fusion=image", f"fit.l2={l2}")
    found = predict(fit(once, None, settings, 1), once, settings).prob
    features = StandardScaler().fit_transform(once.pooled[:, 0])
    oracle = LogisticRegression(C=1 / (l2 * len(once)), class_weight="balanced", max_iter=2000)
    expected = oracle.fit(features, once.truth.argmax(axis=1)).predict_proba(features)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_branches_with_heads_of_their_own_learn_as_if_alone(noisy: Samples) -> None:
    """Their mean is that of a model of the image and one of radiomics, which no gate lets one branch outvote."""
    found = {}
    for fusion in ("mean", "image", "radiomics"):
        settings = tiny(*LINEAR, f"network.fusion={fusion}", "fit.l2=0.05")
        found[fusion] = predict(fit(noisy, None, settings, 1), noisy, settings).prob
    np.testing.assert_allclose(found["mean"], (found["image"] + found["radiomics"]) / 2, atol=0.02)


def test_l2_shrinks_the_weights(noisy: Samples) -> None:
    norms = []
    for l2 in (0.0, 0.01, 1.0):
        settings = tiny(*LINEAR, "network.fusion=mean", f"fit.l2={l2}")
        fitted = fit(noisy, None, settings, 1)
        norms.append(squared_weights(fitted.classifier).item())
    assert norms[0] > 2 * norms[1] > 4 * norms[2]


def test_linear_heads_on_a_backbone_that_learns(samples: Samples, backbone: Backbone) -> None:
    settings = tiny("network.hidden=0", "network.fusion=mean", "fit.tune=head", "fit.epochs=2")
    fitted = fit(samples, backbone, settings, 1)
    assert (fitted.classifier.image.factor > 0).any()
    assert np.isfinite(predict(fitted, samples, settings).prob).all()


def test_a_branch_that_is_not_there_has_no_influence(cache: SampleCache) -> None:
    samples = cache.samples(tiny("fit.epochs=2"))
    nothing = replace(samples, features=np.zeros_like(samples.features))
    unseen = replace(samples, pooled=np.zeros_like(samples.pooled))
    for fusion, blind in (("image", nothing), ("radiomics", unseen)):
        settings = tiny("fit.epochs=2", f"network.fusion={fusion}")
        one, other = (fit(which, None, settings, 1) for which in (samples, blind))
        assert equal_state(one.classifier, other.classifier)
    gated = [fit(which, None, tiny("fit.epochs=2"), 1) for which in (samples, nothing, unseen)]
    assert not equal_state(gated[0].classifier, gated[1].classifier)
    assert not equal_state(gated[0].classifier, gated[2].classifier)


def test_sizes_are_those_of_the_settings() -> None:
    shape = shape_of(tiny("network.dropout=0.25", "fit.loss=flat", "network.fusion=concat"), 256, 3)
    assert shape == Shape(256, 3, "concat", "flat", 8, 4, 0.25)


@pytest.mark.parametrize("missing", range(3))
@pytest.mark.parametrize("loss", LOSSES)
def test_a_class_that_is_missing_from_training_is_no_error(samples: Samples, missing: int, loss: str) -> None:
    settings = tiny("fit.epochs=2", f"fit.loss={loss}")
    kept = samples.only([tile for tile in samples.tiles if tile.label != missing])
    assert np.isfinite(predict(fit(kept, None, settings, 1), samples, settings).prob).all()


def test_a_last_batch_of_one_is_left_out(samples: Samples) -> None:
    """BatchNorm needs two."""
    nine = replace(samples, owner=samples.owner[:9], pixels=samples.pixels[:9], pooled=samples.pooled[:9],
                   features=samples.features[:9])  # fmt: skip
    done: list[int] = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        count = fit_module._count
        monkeypatch.setattr(
            fit_module, "_count", lambda state, parts, rows: done.append(rows) or count(state, parts, rows)
        )
        fit(nine, None, tiny("fit.epochs=2"), 1)
    assert done == [8, 8]


def test_every_crop_is_seen_once_an_epoch_in_an_order_of_its_own(
    samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[list[int]] = []
    varied = batches.Cached.varied
    monkeypatch.setattr(
        batches.Cached,
        "varied",
        lambda self, some, rng: rows.append(some.tolist()) or varied(self, some, rng),
    )
    fit(samples, None, tiny("fit.epochs=2"), 1)
    first, second = ([row for batch in rows[at : at + BATCHES] for row in batch] for at in (0, BATCHES))
    assert sorted(first) == sorted(second) == list(range(36))
    assert first != second
    assert first != sorted(first)


# Scaling and prediction


def test_the_scaling_is_that_of_the_crops_as_they_are(samples: Samples) -> None:
    fitted = fit(samples, None, tiny("fit.epochs=1"), 1)
    np.testing.assert_allclose(fitted.standardise.centre, np.median(samples.features[:, 0], axis=0))
    network = tiny().network
    expected = Standardiser.fit(samples.features[:, 0], samples.recipe.names, network.clip, network.guard)
    assert fitted.standardise == expected


def test_predictions_are_of_crops_as_they_are(samples: Samples) -> None:
    """Neither other views nor the rest of the crops matter."""
    settings = tiny("fit.epochs=2")
    fitted = fit(samples, None, settings, 1)
    found = predict(fitted, samples, settings)
    features, pooled = samples.features.copy(), samples.pooled.copy()
    features[:, 1], pooled[:, 1] = 0, 0
    np.testing.assert_array_equal(
        predict(fitted, replace(samples, features=features, pooled=pooled), settings).prob, found.prob
    )
    some = samples.tiles[2:4]
    few = predict(fitted, samples.only(some), settings)
    np.testing.assert_allclose(few.prob, found.prob[samples.rows(some)], atol=1e-6)
    np.testing.assert_allclose(few.gate, found.gate[samples.rows(some)], atol=1e-6)


def test_a_tuned_backbone_is_the_one_that_predicts(samples: Samples, tuned: Tuned) -> None:
    settings = tiny("fit.tune=full", "crops.batch=5")
    found = predict(tuned.whole, samples, settings)
    assert tuned.whole.backbone is not None
    with torch.inference_mode():
        pooled = tuned.whole.backbone(torch.from_numpy(samples.pixels))
        z = torch.from_numpy(tuned.whole.standardise.apply(samples.features[:, 0]).astype(np.float32))
        expected = mean_prob(tuned.whole.classifier(pooled, z))
    np.testing.assert_allclose(found.prob, expected, atol=1e-5)


def test_crops_that_were_seen_are_recognised(samples: Samples) -> None:
    settings = tiny()
    found = predict(fit(samples, None, settings, 1), samples, settings)
    assert np.mean(found.prob.argmax(axis=1) == samples.truth.argmax(axis=1)) > 0.9
    assert set(found.prob.argmax(axis=1)) == set(range(len(CLASSES)))
