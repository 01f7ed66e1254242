from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.pipelines.cli import main
from wsi_necrosis.settings.train import load_train_settings

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
    said = capsys.readouterr().err
    assert said.startswith("wsi-necrosis: data.tiles '$WSI_NECROSIS_DATA/tcia_os' names a variable")
    assert said.count("\n") == 1
