from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command import in_process
from tests.helpers.runs import run
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
    assert found[0]["reader"] == "A"
    assert found[0]["unsure"] >= 1
    assert found[0]["if_viable"]["share"] >= found[0]["if_non_viable"]["share"]


def test_what_cannot_be_done_is_said(out: Path, tmp_path: Path) -> None:
    assert in_process("review", "plan", "--width", "2").returncode == 2
    assert in_process("review", "sample", str(tmp_path)).returncode == 2
    assert in_process("review", "import", str(tmp_path), "none.csv").returncode == 2
