import filecmp
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.regions import areas_of
from tests.helpers.runs import material_of
from wsi_necrosis.errors import InterruptedRunError
from wsi_necrosis.export import export_slide as exporting
from wsi_necrosis.export.export_slide import export_slide
from wsi_necrosis.inference.job import Job
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.provenance import VERSION
from wsi_necrosis.report.slide_report import open_results
from wsi_necrosis.scores.slide_folder import EXPORTS, FORMATS
from wsi_necrosis.settings.run import load_settings

DAY = "2026-11-29"
USUAL = (
    "tiles.parquet",
    "heatmap.ome.zarr",
    "foci.csv",
    "foci.geojson",
    "regions.geojson",
    "thumbnail.png",
    "overlay.png",
)


@pytest.fixture(scope="module")
def again(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything exported anew from what the folder holds; the slide is not opened."""
    out = tmp_path_factory.mktemp("again")
    assert not export_slide(out, material_of(job), sorted({*FORMATS} - {"annotation_store"}))
    return out


def files_of(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", USUAL)
def test_without_the_slide_the_same_bytes_come_out(job: Job, again: Path, name: str) -> None:
    one, other = job.folder / name, again / name
    if one.is_dir():
        names = files_of(one)
        assert names == files_of(other)
        assert filecmp.cmpfiles(one, other, names, shallow=False)[1:] == ([], [])
    else:
        assert one.read_bytes() == other.read_bytes()


def test_nothing_else_is_written(again: Path) -> None:
    assert {path.name for path in again.iterdir()} == set(EXPORTS) - {
        "report.html",
        "pictures",
        "annotations.db",
    }


def test_regions_of_the_phantom_have_the_areas_of_the_ledger(job: Job) -> None:
    found, ledger = areas_of(job.folder, open_results(job.folder).result)
    assert found == pytest.approx(ledger, rel=0.01)
    assert sum(ledger.values()) > 0.1


def test_a_caption_names_slide_model_and_pixel_size(job: Job) -> None:
    caption = replace(material_of(job), date=DAY).caption
    assert caption.slide == job.slide.name
    assert re.fullmatch(r"phantom \([0-9a-f]{8}\)", caption.model)
    assert caption.pixel_size == "0.5 um (TIFF resolution)"
    assert (caption.notice, caption.version, caption.date) == (load_spec("phantom").notice, VERSION, DAY)


def test_a_failing_export_fails_no_other(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "write_regions", lambda *given: 1 / 0)
    (tmp_path / "regions.geojson").write_text("of an earlier run")
    (failed,) = export_slide(tmp_path, material_of(job), load_settings().export.formats)
    assert failed.code == "export_failed"
    assert "regions.geojson could not be written: ZeroDivisionError" in failed.text
    assert {path.name for path in tmp_path.iterdir()} == {*USUAL} - {"regions.geojson"}


def test_an_interruption_is_no_failing_export(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*given: object) -> None:
        raise InterruptedRunError("stopped")

    monkeypatch.setattr(exporting, "write_tiles_table", stop)
    with pytest.raises(InterruptedRunError):
        export_slide(tmp_path, material_of(job), ["parquet"])
