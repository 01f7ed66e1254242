from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.helpers.odd_slides import JPEG
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.pipelines.cli import main
from wsi_necrosis.settings.train import load_train_settings
from wsi_necrosis.training.build import settings_for, train

BRIEF = ("fit.epochs=1", "fit.test_seeds=[1]", "network.members=1")


def test_the_command_needs_no_file_of_settings(
    config: Path, painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_train_settings(config, [f"data.tiles={painted}", *BRIEF]).model_dump(mode="json")
    texts = [
        f"{section}.{key}={json.dumps(value)}"
        for section, found in settings.items()
        for key, value in found.items()
    ]
    options = [part for text in texts for part in ("--set", text)]
    monkeypatch.setattr(sys, "argv", ["wsi-necrosis", "train", "-o", str(tmp_path / "model"), *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert load_spec(tmp_path / "model").name == "tiny"


def test_the_command_ends_in_one_line_and_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WSI_NECROSIS_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", ["wsi-necrosis", "train", "-o", str(tmp_path / "model")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("wsi-necrosis train")
    assert said[1:] == [
        "wsi-necrosis: no labelled tiles are named; give a folder or a table with --tiles PATH (data.tiles)"
    ]


def as_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wsi_necrosis.pipelines.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_training_says_what_begins_and_how_good_the_model_is(
    config: Path, painted: Path, tmp_path: Path
) -> None:
    """And names the model after its folder where nothing else names it."""
    text = config.read_text(encoding="utf-8").replace("name: tiny, ", "")
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    out = tmp_path / "my model"
    options = [part for text in BRIEF for part in ("--set", text)]
    done = as_command("train", str(tmp_path / "c.yaml"), "--tiles", str(painted), "-o", str(out), *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"wsi-necrosis train: {painted} to {out}; loading\n")
    first, figures, last = done.stdout.splitlines()
    assert first == f"model my-model, of 21 tiles of 3 cases, is in {out}"
    assert figures.startswith("on cases left out in turn: macro-F1 of tiles 0.")
    assert last == f"use it: wsi-necrosis run SLIDE --model {out}"
    assert load_spec(out).name == "my-model"


def test_what_is_known_of_tcia_is_said_of_its_tiles_alone(painted: Path, tmp_path: Path) -> None:
    table = painted / "labels.csv"
    with pytest.raises(DatasetError, match="missing pixel size"):
        train(None, tmp_path / "model", [f"data.tiles={table}"])
    folder = tmp_path / "Training-Set-1" / "set1"
    folder.mkdir(parents=True)
    (folder / "PathologistValidation.csv").write_text("")
    for place, preset in ((tmp_path, None), (painted, "tcia")):
        found = settings_for(None, tmp_path / "model", [f"data.tiles={place}"], preset)
        assert (found.data.mpp_um, found.data.doi) == (0.5, "10.7937/tcia.2019.bvhjhdas")
    found = settings_for(
        None, tmp_path / "a", [f"data.tiles={tmp_path}", "data.licence=mine", "data.mpp_um=0.25"]
    )
    assert (found.data.mpp_um, found.data.licence, found.network.name) == (0.25, "mine", "a")
    other = settings_for(None, tmp_path / "b", [f"data.tiles={painted}"])
    assert (other.data.doi, other.data.mpp_um) == ("not stated", None)


@pytest.mark.parametrize("layout", ["folders", "table", "one of a table", "slides"])
def test_pixels_of_unknown_size_train_no_model(layout: str, tmp_path: Path) -> None:
    """However the tiles are laid out; what is missing is named, with the way out of that layout."""
    tiles, names = tmp_path / "tiles", ("viable", "non_viable")
    for name in names:
        (tiles / "case" / name).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(tiles / "case" / name / "a.png")
    rows = [f"case/{name}/a.png,case,{name}" for name in names]
    if layout == "table":
        (tiles / "labels.csv").write_text("\n".join(["file,case,label", *rows]))
    elif layout == "one of a table":
        (tiles / "labels.csv").write_text("\n".join(["file,case,label,mpp", rows[0] + ",0.5", rows[1] + ","]))
    elif layout == "slides":
        tifffile.imwrite(tiles / "s.tiff", np.zeros((512, 512, 3), np.uint8), **JPEG)
        area = {"type": "Polygon", "coordinates": [[[0, 0], [400, 0], [400, 400], [0, 400], [0, 0]]]}
        classified = {"classification": {"name": "viable"}}
        feature = {"type": "Feature", "geometry": area, "properties": classified}
        (tiles / "s.geojson").write_text(json.dumps([feature]))
        (tiles / "slides.csv").write_text("slide,case,annotations\ns.tiff,a,s.geojson\n")
    way_out = "columns mpp_x and mpp_y" if layout == "slides" else "data.mpp_um=NUMBER"
    with pytest.raises(DatasetError, match=f"missing pixel size for .*{way_out}"):
        train(None, tmp_path / "model", [f"data.tiles={tiles}"])
    assert not (tmp_path / "model" / "model.json").exists()
