from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from tests.helpers.painted_tiles import paint
from wsi_necrosis.claims import claimed
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import ClaimedError, DatasetError, ModelError, SettingsError, StoreError
from wsi_necrosis.model.checkpoint import load_tensors, save_checkpoint
from wsi_necrosis.model.conversion import OPENVINO
from wsi_necrosis.model.loading import largest_difference, load_model
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.model.tile_model import TileModel
from wsi_necrosis.radiomics.extraction import extract
from wsi_necrosis.settings.train import load_train_settings
from wsi_necrosis.slides.phantom import phantom_tiles
from wsi_necrosis.tiling.foreground import foreground
from wsi_necrosis.training.backbones import initial_backbone
from wsi_necrosis.training.build import check, train, with_network
from wsi_necrosis.training.fit import Epoch
from wsi_necrosis.training.leave_case_out import Watch

BRIEF = ("fit.epochs=1", "fit.test_seeds=[1]", "network.members=1")


class StopError(Exception):
    """Interrupts a training."""


def accuracies(model: TileModel, seed: int = 9) -> list[float]:
    """Share of fresh tiles of each material that a model gets right."""
    rng, found = np.random.default_rng(seed), []
    for label, name in enumerate(CLASSES):
        tiles = phantom_tiles(name, 8, 32, rng)
        features, _ = extract(tiles, foreground(tiles), model.spec.recipe, model.spec.mpp)
        prediction = model.predict(tiles, features)
        assert np.allclose(prediction.prob.sum(axis=1), 1, atol=1e-5)
        found.append(float((prediction.prob.argmax(axis=1) == label).mean()))
    return found


def test_the_checkpoint_scores_tiles(trained: Path) -> None:
    assert min(accuracies(load_model(trained))) >= 0.75


def test_members_differ_on_one_backbone(trained: Path) -> None:
    tensors = load_tensors(trained, load_spec(trained))
    assert not np.array_equal(
        tensors["members.0.heads.0.coarse.weight"], tensors["members.1.heads.0.coarse.weight"]
    )
    assert {name.split(".")[0] for name in tensors} == {"backbone", "members"}


def test_the_checkpoint_says_what_made_it(trained: Path) -> None:
    spec = load_spec(trained)
    assert (spec.name, spec.tile_px, spec.mpp, spec.backbone, spec.members) == (
        "tiny", 32, 1.0, "test_byobnet", 2,
    )  # fmt: skip
    assert (spec.trained_on.cases, spec.trained_on.n_tiles) == (("A", "B", "C"), 21)
    assert (spec.trained_on.source, spec.trained_on.licence) == ("Painted by hand", "CC0")
    assert "21 tiles of 3 cases" in spec.notice
    assert spec.training["fit"]["epochs"] == 15
    assert len(set(spec.trained_on.pictures)) == 21
    assert len(set(spec.trained_on.looks)) == 21
    assert set(spec.created_with) >= {"wsi-necrosis", "torch", "timm"}
    assert spec.converted is not None
    assert largest_difference(trained, OPENVINO) < 1e-5


def test_the_figures_are_those_of_left_out_cases(trained: Path) -> None:
    metrics = load_spec(trained).metrics
    assert (metrics["seeds"], metrics["members"], metrics["ensembles"]) == ([1, 2], 2, 1)
    assert (metrics["n_tiles"], metrics["n_crops"]) == (21, 21)
    assert metrics["tile"]["accuracy"]["mean"] > 0.8
    assert metrics["cases"]["A"]["truth"] == 50.0
    assert metrics["cases"]["C"]["truth"] is None
    assert metrics["cases"]["C"]["tiles"] == {"non_tumour": 3, "non_viable": 0, "viable": 0, "mixed": 0}
    assert set(metrics["abstained"]) == {"A", "B", "C"}


def test_ood_tiles_are_recognised(trained: Path) -> None:
    model = load_model(trained)
    odd = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3)).astype(np.uint8)
    familiar = phantom_tiles("viable", 4, 32, np.random.default_rng(1))
    nothing = np.zeros((4, len(model.spec.feature_names)))
    assert (model.predict(odd, nothing).ood > 1).all()
    assert np.median(model.predict(familiar, nothing).ood) < 1


def test_the_same_command_gives_the_same_model(
    config: Path, painted: Path, trained: Path, tmp_path: Path
) -> None:
    train(config, tmp_path / "again", [f"data.tiles={painted}"])
    for name in ("model.json", "model.safetensors", "training.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (trained / name).read_bytes(), name


@pytest.mark.parametrize("stop_after", [8, 97])
def test_an_interrupted_training_goes_on_to_the_same_weights(
    stop_after: int,
    config: Path,
    painted: Path,
    trained: Path,
    tmp_path: Path,
) -> None:
    """Within the first fit, and among the members; states are kept every 7 steps, epochs have other lengths."""
    told = Counter[str]()

    @contextmanager
    def stopping(epochs: int) -> Iterator[Watch]:
        def watch(name: str, epoch: Epoch) -> None:
            told[name] += 1
            if told.total() == stop_after:
                raise StopError

        yield watch

    out = tmp_path / "model"
    with pytest.raises(StopError):
        train(config, out, [f"data.tiles={painted}"], watching=stopping)
    assert len(list((out / "fits").glob("fit-*.pt"))) == len(told)
    assert not (out / "model.json").exists()
    train(config, out, [f"data.tiles={painted}"])
    assert told.total() <= 8 * 15 + 2  # nothing is done again but what came after the last state
    files = ["model.json", "model.safetensors", "network.bin", "network.xml", "training.csv"]
    assert sorted(path.name for path in out.iterdir()) == files
    for name in files:
        assert (out / name).read_bytes() == (trained / name).read_bytes(), name


def test_the_checkpoint_says_which_estimator_leads_and_how_far_it_is_off(trained: Path) -> None:
    """Both painted cases with tumour hold both kinds: each is an end of the scale, and there is no pair."""
    spec = load_spec(trained)
    assert spec.quantity is not None
    figures = spec.metrics["simulation"]
    assert list(figures["by_group"]) == ["A", "B"]
    assert spec.quantity.of(spec.quantity.estimator).rmse == min(figures["rmse"].values())
    assert spec.quantity.soft.blank is not None
    assert spec.quantity.soft.blank.cases == 2
    assert spec.calibration.cases == 3


def test_the_log_has_a_row_for_each_epoch_of_each_fit(trained: Path) -> None:
    with (trained / "training.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    fits = [f"{case}-{seed}" for seed in (1, 2) for case in "ABC"] + ["member-1", "member-2"]
    assert [(row["fit"], row["epoch"]) for row in rows] == [
        (fit, str(epoch)) for fit in fits for epoch in range(1, 16)
    ]


def test_the_description_does_not_name_the_folder_of_the_tiles(trained: Path, painted: Path) -> None:
    text = (trained / "model.json").read_text(encoding="utf-8")
    assert str(painted) not in text
    assert "PAINTED_TILES" not in text
    assert "tiles" not in json.loads(text)["training"]["data"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["fit.tune=full", "network.members=2"], "fit.tune 'full'.*set network.members=1"),
        (["fit.tune=partial", "network.members=3"], "fit.tune 'partial'.*set network.members=1"),
        (["fit.tune=head", "network.fusion=radiomics"], "fit.tune 'head' needs a backbone.*set fit.tune=frozen"),
        (["fit.tune=full", "network.members=1", "network.fusion=radiomics"], "needs a backbone"),
        (["network.hidden=0", "network.fusion=gate"], "'gate' joins hidden layers.*network.fusion=mean"),
        (["network.hidden=0", "network.fusion=concat"], "'concat' joins hidden layers"),
        (["fit.epoch=3"], "fit.epoch is not a setting"),
    ],
)  # fmt: skip
def test_what_cannot_go_together_is_refused_before_anything_is_read(
    overrides: list[str], message: str, config: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        train(config, tmp_path / "model", ["data.tiles=/no/such/folder", *overrides])
    assert list(tmp_path.iterdir()) == []


def test_the_shipped_settings_go_together() -> None:
    check(load_train_settings())


def test_tiles_that_are_not_there_stop_the_training(config: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape("data.tiles '$PAINTED_TILES' names a variable")):
        train(config, tmp_path / "model", [])
    with pytest.raises(DatasetError, match="/no/such/folder is no folder"):
        train(config, tmp_path / "model", ["data.tiles=/no/such/folder"])
    assert list(tmp_path.iterdir()) == []


def test_tiles_of_one_case_stop_the_training(config: Path, tmp_path: Path) -> None:
    tiles = paint(tmp_path, {"A": CLASSES}, 1, each=1)
    with pytest.raises(DatasetError, match="leaving a case out takes at least two"):
        train(config, tmp_path / "model", [f"data.tiles={tiles}"])


def test_a_place_that_cannot_be_written_stops_the_training(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is no writable folder"):
        train(config, tmp_path / "file" / "model", ["data.tiles=/no/such/folder"])


@pytest.mark.parametrize("tune", ["head", "partial", "full"])
def test_a_model_whose_backbone_learns_holds_what_it_learned(
    tune: str, config: Path, painted: Path, tmp_path: Path
) -> None:
    overrides = [f"data.tiles={painted}", *BRIEF, f"fit.tune={tune}", "fit.backbone_learning_rate=0.01"]
    train(config, tmp_path / "model", overrides)
    model = load_model(tmp_path / "model")
    accuracies(model)
    settings = load_train_settings(config, overrides)
    first = initial_backbone(settings.network, settings.fit.seed).body.state_dict()
    stored = load_tensors(tmp_path / "model", model.spec)
    moved = {
        name: not np.array_equal(stored[f"backbone.body.{name}"], tensor.numpy().astype(np.float16))
        for name, tensor in first.items()
    }
    assert any(moved.values()) == (tune != "head")
    assert moved["stem.conv.weight"] == (tune == "full")
    assert not any(changed for name, changed in moved.items() if "running" in name)


def test_radiomics_alone_make_a_model_without_a_backbone(config: Path, painted: Path, tmp_path: Path) -> None:
    train(
        config,
        tmp_path / "model",
        [f"data.tiles={painted}", "network.fusion=radiomics", *BRIEF, "fit.epochs=15"],
    )
    model = load_model(tmp_path / "model")
    assert (model.spec.backbone, model.spec.fusion) == ("", "radiomics")
    assert not any("backbone" in name for name in load_tensors(tmp_path / "model", model.spec))
    assert np.mean(accuracies(model)) > 0.6


def test_the_image_alone_makes_a_model_without_radiomics(config: Path, painted: Path, tmp_path: Path) -> None:
    train(
        config,
        tmp_path / "model",
        [f"data.tiles={painted}", "network.fusion=image", "fit.loss=flat", *BRIEF, "fit.epochs=15"],
    )
    model = load_model(tmp_path / "model")
    assert (model.spec.feature_names, model.spec.heads) == ((), "flat")
    assert np.mean(accuracies(model)) > 0.6


def test_a_file_gives_the_first_weights(config: Path, painted: Path, tmp_path: Path) -> None:
    """They are those of the frozen backbone that the checkpoint holds."""
    settings = load_train_settings(config)
    given = initial_backbone(settings.network, 77).body.state_dict()
    save_file(given, tmp_path / "first.safetensors")
    overrides = [f"data.tiles={painted}", *BRIEF, f"network.initial={tmp_path / 'first.safetensors'}"]
    train(config, tmp_path / "model", overrides)
    stored = load_tensors(tmp_path / "model", load_spec(tmp_path / "model"))
    for name, tensor in given.items():
        np.testing.assert_array_equal(stored[f"backbone.body.{name}"], tensor.numpy().astype(np.float16))
    save_file({"odd": given["stem.conv.weight"]}, tmp_path / "first.safetensors")
    with pytest.raises(ModelError, match="does not hold the tensors of timm's test_byobnet"):
        train(config, tmp_path / "other", overrides)


def test_fewer_seeds_than_members_are_not_reported_as_an_ensemble(
    config: Path, painted: Path, tmp_path: Path
) -> None:
    overrides = ["fit.epochs=1", "fit.test_seeds=[1]", "network.members=2"]
    spec = train(str(config), str(tmp_path / "model"), [f"data.tiles={painted}", *overrides])
    assert spec == load_spec(tmp_path / "model")
    assert spec.members == 2
    assert (spec.metrics["members"], spec.metrics["ensembles"]) == (1, 1)


def test_a_second_training_in_the_same_folder_is_refused(painted: Path, config: Path, tmp_path: Path) -> None:
    with claimed(tmp_path / "model"), pytest.raises(ClaimedError, match="another run works on"):
        train(config, tmp_path / "model", [f"data.tiles={painted}"])
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_converted_is_kept_without_a_network(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And so is one that was trained where OpenVINO is not installed; the log says what that means."""
    shutil.copytree(trained, tmp_path / "model")
    plain = save_checkpoint(tmp_path / "model", load_spec(trained), load_tensors(trained, load_spec(trained)))
    monkeypatch.setattr("wsi_necrosis.model.conversion.TOLERANCE", {"float32": -1.0})
    assert with_network(tmp_path / "model", plain) == plain == load_spec(tmp_path / "model")
    monkeypatch.setattr("wsi_necrosis.training.build.find_spec", lambda name: None)
    assert with_network(tmp_path / "model", plain) == plain
    first, second = (text for text in caplog.messages if "holds no converted network" in text)
    assert "changes probabilities" in first
    assert "OpenVINO is not installed" in second
