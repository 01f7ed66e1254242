from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.command import in_process
from tests.helpers.runs import run
from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.reading import read_tiles
from wsi_necrosis.settings.train import load_train_settings
from wsi_necrosis.slides.phantom import write_phantom


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("review")
    write_phantom(root / "a.tiff", np.random.default_rng(1), side_mm=1.0)
    run(root / "a.tiff", root / "out" / "slides" / "a.tiff")
    return root / "out"


def test_three_commands_lead_from_results_to_a_number(out: Path) -> None:
    assert "about 40 labelled cells" in in_process("review", "plan", "--width", "20").stdout
    told = in_process("review", "sample", str(out), "--cells", "20").stdout
    assert "20 cells of 1 slides" in told
    assert "review.html" in told
    cells = json.loads((out / "reviews" / "review.json").read_text())["cells"]
    labels = out / "labels.csv"
    labels.write_text(
        "cell,label\n" + "".join(f"{cell['number']},{'onv'[cell['predicted']]}\n" for cell in cells)
    )
    told = in_process("review", "import", str(out), str(labels), "--reader", "A").stdout
    assert "from 20 cells drawn at random by tissue area and labelled by a person" in told
    labels.write_text(labels.read_text().replace("\n1,", "\n1,?\n#", 1).partition("#")[0])
    told = in_process("review", "import", str(out), str(labels), "--reader", "B").stdout
    assert "no number before all have one" in told
    found = json.loads(
        in_process("review", "import", str(out), str(labels), "--reader", "A", "--json").stdout
    )
    first = found["readings"][0]
    assert first["reader"] == "A"
    assert first["unsure"] >= 1
    assert first["if_viable"]["share"] >= first["if_non_viable"]["share"]


def drawn_in(out: Path, folder: Path, changes: dict[str, str]) -> Path:
    """The slide's regions as a person exports them from QuPath, with other classes."""
    folder.mkdir()
    text = (out / "slides" / "a.tiff" / "regions.geojson").read_text()
    for before, after in changes.items():
        text = text.replace(f'"{before}"', f'"{after}"')
    (folder / "a.geojson").write_text(text)
    return folder


def imported(out: Path, *more: str) -> dict[str, Any]:
    done = in_process("review", "import", str(out), *more, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_regions_that_were_corrected_give_a_percentage_as_drawn(out: Path, tmp_path: Path) -> None:
    in_process("review", "sample", str(out), "--cells", "20", "--name", "drawn")
    result = json.loads((out / "slides" / "a.tiff" / "result.json").read_text())
    same = drawn_in(out, tmp_path / "same", {})
    found = imported(out, "--name", "drawn", "--regions", str(same))["as_drawn"]
    assert found["percent_viable"] == pytest.approx(result["percent_viable_by_class"])
    assert found["slides"] == ["a.tiff"]
    dead = drawn_in(out, tmp_path / "dead", {"Tumor": "Necrosis"})
    told = in_process("review", "import", str(out), "--name", "drawn", "--regions", str(dead)).stdout
    assert "As drawn: percent viable 0.0 % of" in told
    assert "It has no interval" in told
    done = in_process("review", "import", str(out), "--name", "drawn", "--regions", str(tmp_path / "no"))
    assert done.returncode == 2


def test_labels_and_regions_are_handed_to_train(out: Path, tmp_path: Path) -> None:
    in_process("review", "sample", str(out), "--cells", "20", "--name", "handed")
    cells = json.loads((out / "reviews" / "handed.json").read_text())["cells"]
    labels = tmp_path / "labels.csv"
    labels.write_text("cell,label\n" + "".join(f"{cell['number']},v\n" for cell in cells))
    regions = drawn_in(out, tmp_path / "regions", {"Tumor": "Necrosis"})
    tiles = tmp_path / "tiles"
    more = ("--name", "handed", "--regions", str(regions), "--to-tiles", str(tiles))
    assert imported(out, str(labels), *more)["readings"][0]["if_viable"]["share"] == 1
    settings = load_train_settings(overrides=[f"data.tiles={tiles}", "data.mpp_um=1.0"])
    found = read_tiles(settings.data, tmp_path / "work", Field(32, 1.0))
    viable = sum(tile.label == 2 for tile in found)
    assert 0 < viable <= len(cells)
    assert any(tile.label == 1 for tile in found)


def test_what_cannot_be_done_is_said(out: Path, tmp_path: Path) -> None:
    assert in_process("review", "plan", "--width", "2").returncode == 2
    assert in_process("review", "sample", str(tmp_path)).returncode == 2
    assert in_process("review", "import", str(tmp_path), "none.csv").returncode == 2
