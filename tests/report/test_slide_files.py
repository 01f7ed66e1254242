import json
from pathlib import Path

import pytest

from wsi_necrosis.errors import StoreError
from wsi_necrosis.report import slide_files
from wsi_necrosis.report.slide_files import make_again
from wsi_necrosis.report.verify import verify_slide
from wsi_necrosis.scores.slide_folder import SlideFolder
from wsi_necrosis.settings.run import load_settings


def test_what_is_made_again_has_the_same_bytes_without_the_slide(finished: Path) -> None:
    """Of the slide's pixels only pictures of cells are needed, and these are kept."""
    result = json.loads((finished / "result.json").read_text())
    result["path"] = "/gone/slide.tiff"
    (finished / "result.json").write_text(json.dumps(result))
    names = ("report.html", "overlay.png", "regions.geojson", "tiles.parquet")
    before = {name: (finished / name).read_bytes() for name in names}
    for name in names:
        (finished / name).unlink()
    assert make_again(finished, load_settings().export.formats) == []
    assert {name: (finished / name).read_bytes() for name in names} == before


def test_what_is_made_again_is_no_damage(finished: Path) -> None:
    prints = SlideFolder(finished).result()["provenance"]["fingerprints"]
    assert make_again(finished, ["report", "csv"]) == []
    assert list(verify_slide(finished)) == []
    assert SlideFolder(finished).finished_with(prints) is not None
    (finished / "tiles.csv").unlink()
    assert list(verify_slide(finished)) == ["tiles.csv is missing"]
    assert sorted(path.name for path in finished.parent.iterdir()) == [finished.name]


def test_a_failing_export_is_named_in_the_report(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsi_necrosis.export.export_slide.write_regions", lambda *given: 1 / 0)
    (failed,) = make_again(finished, ["geojson", "report"])
    assert failed.text in (finished / "report.html").read_text().replace("&#39;", "'")


def test_a_failing_report_fails_no_export(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slide_files, "write_slide_report", lambda *given: 1 / 0)
    (failed,) = make_again(finished, ["report", "csv"])
    assert failed.text.startswith("report.html could not be written: ZeroDivisionError")
    assert (finished / "tiles.csv").exists()


def test_a_folder_without_its_date_is_refused(finished: Path) -> None:
    (finished / "perf.json").write_text("{}")
    with pytest.raises(StoreError, match=r"perf\.json cannot be read .*run the slide again"):
        make_again(finished, ["csv"])
