from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsi_necrosis.checkpoint import ModelSpec, load_spec
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset import COLUMNS, LABELS
from wsi_necrosis.errors import DatasetError, SettingsError
from wsi_necrosis.model import load_model
from wsi_necrosis.phantom import phantom_tiles
from wsi_necrosis.pipelines.model_card import render
from wsi_necrosis.pipelines.train import train
from wsi_necrosis.radiomics import extract
from wsi_necrosis.settings import load_train_settings
from wsi_necrosis.tissue import foreground

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
data: {folder: $TILES, source: painted, doi: none, licence: CC0, centre: no centre}
crops: {tile_px: 32, per_side: 1, views: 2, workers: 1}
network: {name: tiny, backbone: test_byobnet, initial: random, hidden: 8, gate_hidden: 4, recipe: phantom}
fit: {epochs: 15, batch: 4, learning_rate: 0.01, test_seeds: [1, 2]}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of three cases; case C has no tumour."""
    folder = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(5)
    rows = []
    for case, names in (("A", CLASSES), ("B", CLASSES), ("C", CLASSES[:1])):
        for name in names:
            for at, pixels in enumerate(phantom_tiles(name, 3, 64, rng, mpp_um=0.5)):
                file = f"{case}-{name}-{at}.png"
                Image.fromarray(pixels).save(folder / file)
                rows.append((file, case, case, at, 0, list(LABELS)[CLASSES.index(name)]))
    with (folder / "labels.csv").open("w", newline="") as lines:
        csv.writer(lines).writerows([COLUMNS, *rows])
    (folder / "tiny.yaml").write_text(CONFIG)
    return folder / "tiny.yaml"


@pytest.fixture(scope="module")
def trained(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "model"
    train(config, [f"data.folder={config.parent}"], out)
    return out


def test_the_checkpoint_scores_tiles(trained: Path) -> None:
    model = load_model(trained)
    rng = np.random.default_rng(9)
    for label, name in enumerate(CLASSES):
        tiles = phantom_tiles(name, 4, 32, rng)
        features, _ = extract(tiles, foreground(tiles), model.spec.recipe, model.spec.mpp)
        assert (model.predict(tiles, features).prob.argmax(axis=1) == label).all()


def test_the_checkpoint_says_what_made_it(trained: Path) -> None:
    spec = load_spec(trained)
    assert (spec.name, spec.tile_px, spec.mpp, spec.backbone) == ("tiny", 32, 1.0, "test_byobnet")
    assert spec.trained_on.cases == ("A", "B", "C")
    assert spec.trained_on.n_tiles == 21
    assert "21 tiles of 3 cases" in spec.notice
    assert spec.metrics["seeds"] == [1, 2]
    assert spec.metrics["tile"]["accuracy"]["mean"] > 0.8
    assert spec.metrics["cases"]["A"]["percent_viable"]["truth"] == 50.0
    assert spec.metrics["cases"]["C"]["percent_viable"]["truth"] is None
    assert spec.metrics["cases"]["C"]["tiles"] == {"non_tumour": 3, "non_viable": 0, "viable": 0}
    assert spec.created_with["torch"]


def test_the_same_command_gives_the_same_model(config: Path, trained: Path, tmp_path: Path) -> None:
    train(config, [f"data.folder={config.parent}"], tmp_path / "again")
    assert load_spec(tmp_path / "again") == load_spec(trained)


def test_the_model_card_has_figures_and_attribution(trained: Path) -> None:
    card = (trained / "MODEL_CARD.md").read_text(encoding="utf-8")
    spec = load_spec(trained)
    for part in (
        "Research only",
        "painted",
        "CC0",
        spec.weights_sha256,
        "| C | no tumour |",
        "Macro-F1",
        "Random",
    ):
        assert part in card
    assert "{" not in card


def test_data_that_is_not_there_stops_the_training(config: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="names a variable that is not set"):
        train(config, [], tmp_path / "model")
    with pytest.raises(DatasetError, match="cannot be read"):
        train(config, ["data.folder=/no/such/folder"], tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_folder_may_name_variables(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILES", "/data/tiles")
    assert load_train_settings(config).data.path == Path("/data/tiles")


def test_the_shipped_card_is_that_of_the_shipped_model() -> None:
    spec: ModelSpec = load_spec("default")
    card = (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card == render(spec, load_train_settings())
    for part in ("10.7937/tcia.2019.bvhjhdas", "Leavey P", "CC BY 3.0", "Apache-2.0"):
        assert part in card
