from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from wsi_necrosis.errors import SlideError
from wsi_necrosis.review.sample import sample_cells
from wsi_necrosis.review.sheet import write_sheet


def test_the_page_holds_two_pictures_of_each_cell_and_no_answer_of_the_model(out: Path) -> None:
    sample = sample_cells(out, 12, 1)
    page = write_sheet(out, sample)
    text = page.read_text(encoding="utf-8")
    data = json.loads(
        re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1]
    )  # type: ignore[index]
    assert [cell["cell"] for cell in data["cells"]] == [cell.number for cell in sample.cells]
    assert set(data["cells"][0]) == {"cell", "slide", "x_l0", "y_l0", "near", "far"}
    for kind in ("near", "far"):
        image = Image.open(io.BytesIO(base64.b64decode(data["cells"][0][kind].partition(",")[2])))
        assert min(image.size) > 40
    for other in (page.with_name("review-cells.csv"), *page.with_name("review-qupath").iterdir()):
        assert not re.search("viable|tumour|predicted", other.read_text(encoding="utf-8"))
    assert "http" not in text.replace("http-equiv", "")


def test_names_of_html_are_shown_as_text(out: Path) -> None:
    path = out / "slides" / "a.tiff" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"slide_id": "</script><b>x"}))
    text = write_sheet(out, sample_cells(out, 12, 1)).read_text(encoding="utf-8")
    assert "</script><b>x" not in text


def test_cells_for_qupath_lie_where_they_were_drawn(out: Path) -> None:
    sample = sample_cells(out, 12, 1)
    page = write_sheet(out, sample)
    names = {}
    for path in page.with_name("review-qupath").iterdir():
        for feature in json.loads(path.read_text())["features"]:
            names[feature["properties"]["name"]] = feature["geometry"]["coordinates"][0][0]
    cell = sample.cells[0]
    assert names[f"cell {cell.number}"] == [cell.box_l0[0], cell.box_l0[1]]
    assert len(names) == len(sample.cells)


def test_a_slide_that_is_gone_is_named(out: Path) -> None:
    for path in out.glob("slides/*/result.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"path": "/nowhere/x.tiff"}))
    with pytest.raises(SlideError, match=r"is not at /nowhere/x\.tiff any more; bring it back"):
        write_sheet(out, sample_cells(out, 12, 1))
