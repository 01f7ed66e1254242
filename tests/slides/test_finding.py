"""What is a slide in a folder, and what is not."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from wsi_necrosis.errors import UsageError
from wsi_necrosis.slides.finding import find_slides
from wsi_necrosis.slides.phantom import write_phantom

NOBODY = 65534  # a user without rights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def names(folder: Path, pattern: str | None = None, *, recursive: bool = False) -> list[str]:
    found = find_slides(folder, pattern, recursive=recursive, but_with=("result.json",))
    return [path.relative_to(folder).as_posix() for path in found.slides]


def write(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def reasons(folder: Path) -> dict[str, str]:
    return {each.path.name: each.reason for each in find_slides(folder, recursive=True).skipped}


def test_suffixes_of_slides_are_taken_and_hidden_and_other_files_are_not(folder: Path) -> None:
    write(
        folder,
        "b.SVS",
        "a.tiff",
        "ä ö.ndpi",
        "notes.txt",
        "a.jpg",
        "._a.svs",
        ".DS_Store",
        ".x/a.svs",
        "list",
    )
    assert names(folder, recursive=True) == ["a.tiff", "b.SVS", "ä ö.ndpi"]
    assert reasons(folder) == {}


def test_folders_in_the_folder_are_for_recursive(folder: Path) -> None:
    write(
        folder, "a.svs", "CASE1/a.svs", "CASE2/deep/a.svs", "out/slides/x/a.svs", "out/slides/x/result.json"
    )
    assert names(folder) == ["a.svs"]
    assert names(folder, recursive=True) == ["CASE1/a.svs", "CASE2/deep/a.svs", "a.svs"]


def test_a_pattern_replaces_the_suffixes(folder: Path) -> None:
    write(folder, "a.svs", "b.SVS", "c.tiff", "d.img")
    assert names(folder, "*.svs") == ["a.svs", "b.SVS"]
    assert names(folder, "*.img") == ["d.img"]


@pytest.mark.parametrize("name", ["a_thumbnail.tif", "label.tif", "a-macro.tiff", "thumb.ome.tif"])
def test_attached_images_are_named_and_passed_over(folder: Path, name: str) -> None:
    write(folder, "labelled.svs", name)
    assert names(folder) == ["labelled.svs"]
    assert "thumbnail, label or macro" in reasons(folder)[name]


def test_what_is_no_file_is_passed_over_with_the_reason(folder: Path, tmp_path: Path) -> None:
    write(folder, "a.svs")
    os.mkfifo(folder / "pipe.svs")
    (folder / "to-pipe.svs").symlink_to("pipe.svs")
    assert names(folder) == ["a.svs"]
    assert set(reasons(folder)) == {"pipe.svs", "to-pipe.svs"}
    assert "pipe" in reasons(folder)["pipe.svs"]


def test_links_are_followed_but_not_in_circles(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", "a.svs", "more/b.svs")
    (folder / "link.svs").symlink_to(tmp_path / "elsewhere" / "a.svs")
    (folder / "lost.svs").symlink_to(tmp_path / "nowhere.svs")
    (folder / "other").symlink_to(tmp_path / "elsewhere" / "more")
    (folder / "circle").symlink_to(folder)
    assert names(folder, recursive=True) == ["link.svs", "lost.svs", "other/b.svs"]


def test_companions_of_a_mirax_slide_are_not_slides(folder: Path) -> None:
    write(folder, "a.mrxs", "a/Slidedat.ini", "a/Data0000.dat", "a/preview.tif", "b/Slidedat.ini", "b/x.tif")
    assert names(folder, recursive=True) == ["a.mrxs"]
    assert "b.mrxs is not beside it" in reasons(folder)["b"]


def test_an_ome_zarr_folder_is_one_slide(folder: Path) -> None:
    write(folder, "a.ome.zarr/.zattrs", "a.ome.zarr/0/1.tif", "deep/b/zarr.json", "deep/b/0/c.tif")
    assert names(folder) == ["a.ome.zarr"]
    assert names(folder, recursive=True) == ["a.ome.zarr", "deep/b"]
    assert names(folder / "a.ome.zarr") == ["."]


def test_a_dicom_series_is_one_slide(folder: Path, data_dir: Path) -> None:
    (folder / "scan").mkdir()
    for number in "01":
        shutil.copy(data_dir / "slides" / f"openslide_boxes_{number}.dcm", folder / "scan" / f"{number}.dcm")
    write(folder, "scan/._1.dcm", "scan/.DS_Store", "scan/README")
    (folder / "scan" / "report.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"1.2.840.10008.5.1.4.1.1.88.33")
    assert names(folder, recursive=True) == ["scan/0.dcm"]
    assert "no whole-slide image" in reasons(folder)["report.dcm"]


@pytest.mark.skipif(os.geteuid() != 0, reason="the next test does the same for other users")
def test_a_folder_that_a_user_without_rights_cannot_enter_is_named() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, "a.svs", "closed/b.svs", "listed/c.svs")
        (folder / "closed").chmod(0)
        (folder / "listed").chmod(0o444)  # its names may be read, and nothing about them
        folder.chmod(0o755)
        os.seteuid(NOBODY)
        try:
            assert names(folder) == names(folder, recursive=True) == ["a.svs"]
            assert {"closed", "listed"} == set(reasons(folder))
        finally:
            os.seteuid(0)


def test_a_folder_that_cannot_be_read_is_named(folder: Path) -> None:
    write(folder, "a.svs", "closed/b.svs")
    (folder / "closed").chmod(0)
    if os.access(folder / "closed", os.R_OK):
        pytest.skip("this user may read every folder")
    try:
        assert names(folder, recursive=True) == ["a.svs"]
        assert "cannot be read" in reasons(folder)["closed"]
    finally:
        (folder / "closed").chmod(0o700)


def test_a_file_is_no_folder_to_look_into(folder: Path) -> None:
    write_phantom(folder / "a.tiff", side_mm=0.2)
    with pytest.raises(UsageError, match="is no folder"):
        find_slides(folder / "a.tiff")
