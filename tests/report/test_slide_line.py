from pathlib import Path

from wsi_necrosis.export.summary import _row
from wsi_necrosis.report.slide_line import slide_line
from wsi_necrosis.report.slide_report import open_results


def test_an_address_is_quoted_and_leads_up_from_a_folder(finished: Path, tmp_path: Path) -> None:
    row = _row(open_results(finished).result)
    name = "a/b #1.svs"
    assert slide_line(tmp_path, name, row).link is None
    report = tmp_path / "slides" / name / "report.html"
    report.parent.mkdir(parents=True)
    report.touch()
    assert slide_line(tmp_path, name, row).link == "slides/a/b%20%231.svs/report.html"
    assert slide_line(tmp_path, name, row, "../").link == "../slides/a/b%20%231.svs/report.html"


def test_a_slide_says_its_number_that_none_was_found_or_why_it_has_none(finished: Path) -> None:
    row = {
        **_row(open_results(finished).result),
        "status": "scored",
        "percent_viable": 41.74,
        "finding": None,
    }
    assert slide_line(finished, "a", row).said == "41.7"
    assert slide_line(finished, "a", {**row, "finding": "no_viable"}).said == "none found"
    none = {**row, "status": "not_evaluable", "reason": "no_tissue"}
    assert slide_line(finished, "a", none).said == "no tissue was scored"
