import shutil
from pathlib import Path

from tests.helpers.command import in_process
from wsi_necrosis.inference.job import Job


def test_files_are_written_and_counted(job: Job, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(job.folder, tmp_path / "slides" / "slide.tiff"))
    found = in_process("export", str(tmp_path), "--to", "csv, tiles_geojson", "--to", "geojson_gz")
    assert (found.returncode, found.stdout) == (0, "files of 1 slide written, 0 faults\n")
    assert all((folder / name).exists() for name in ("tiles.csv", "tiles.geojson", "regions.geojson.gz"))
    (folder / "report.html").unlink()
    assert in_process("report", str(folder)).returncode == 0
    assert (folder / "report.html").exists()


def test_faults_end_with_exit_code_1(job: Job, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(job.folder, tmp_path / "slides" / "slide.tiff"))
    shutil.rmtree(folder / "tissue.zarr")
    found = in_process("report", str(tmp_path))
    assert found.returncode == 1
    assert "tissue.zarr is missing or damaged" in found.stdout


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    found = in_process("export", str(tmp_path), "--to", "pdf")
    assert found.returncode == 2
    assert "give one or more of report" in found.stderr
