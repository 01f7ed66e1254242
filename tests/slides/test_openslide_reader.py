from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from wsi_necrosis.errors import SlideError
from wsi_necrosis.geometry import Box
from wsi_necrosis.slides.openslide_reader import existing_file, files_of, plane_of
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.slide import open_slide

BOUNDS = {f"openslide.bounds-{key}": value for key, value in
          {"x": "100", "y": "200", "width": "300", "height": "400"}.items()}  # fmt: skip


def test_plane_is_the_bounds_within_the_slide():
    assert plane_of(BOUNDS, (1000, 1000)) == Box(100, 200, 300, 400)
    assert plane_of(BOUNDS, (250, 1000)) == Box(100, 200, 150, 400)


def test_plane_without_bounds_is_level_0():
    assert plane_of({}, (30, 20)) == Box(0, 0, 30, 20)
    assert plane_of({"openslide.bounds-x": "5"}, (30, 20)) == Box(0, 0, 30, 20)


def test_files_of_a_mirax_slide_are_its_folder_too(tmp_path):
    inside = [tmp_path / "a" / name for name in ("Data0000.dat", "Index.dat", "Slidedat.ini")]
    for file in (tmp_path / "a.mrxs", tmp_path / "b.mrxs", *inside):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    found = files_of(tmp_path / "a.mrxs", {"openslide.vendor": "mirax"})
    assert found == tuple(sorted((tmp_path / "a.mrxs", *inside)))


def test_files_of_a_vms_slide_are_those_that_it_names(tmp_path):
    for name in ("a.vms", "a.jpg", "a_map.jpg", "b.jpg"):
        (tmp_path / name).touch()
    properties = {
        "openslide.vendor": "hamamatsu",
        "hamamatsu.ImageFile": "a.jpg",
        "hamamatsu.MapFile": "a_map.jpg",
        "hamamatsu.Note": "no file",
    }
    found = files_of(tmp_path / "a.vms", properties)
    assert [file.name for file in found] == ["a.jpg", "a.vms", "a_map.jpg"]
    assert files_of(tmp_path / "b.jpg", {"openslide.vendor": "aperio"}) == (tmp_path / "b.jpg",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.svs", b"this is no slide\n" * 50, "not a whole-slide image"),
        ("empty.svs", b"", r"empty \(0 bytes\)"),
        ("head.tiff", b"II*\0", "TIFF directories are damaged"),
        ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(100), "a picture that cannot be read"),
        ("näme with blanks.svs", b"text", "not a whole-slide image"),
    ],
)
def test_what_is_no_slide_is_an_error(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SlideError, match=message) as caught:
        open_slide(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(SlideError, match=r"nothing\.svs does not exist"):
        open_slide(tmp_path / "nothing.svs")
    broken = tmp_path / "link.svs"
    broken.symlink_to(tmp_path / "gone.svs")
    with pytest.raises(SlideError, match="does not exist"):
        open_slide(broken)


def test_a_folder_without_a_slide_is_an_error(tmp_path):
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(SlideError, match="folder without a DICOM slide"):
        open_slide(tmp_path)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken.svs", "not a whole-slide image"),
        ("osp_unopenable.tiff", r"Unsupported TIFF compression: 52479"),
        ("osp_unreadable.svs", "not one of its pixels can be decoded"),
    ],
)
def test_negative_files_fail_each_with_its_own_message(data_dir, name, message):
    path = data_dir / "slides" / "negative" / name
    with pytest.raises(SlideError, match=message) as caught:
        read_overview(open_slide(path), 4.0)
    assert name in str(caught.value)


@pytest.fixture
def dicom(data_dir, tmp_path) -> Path:
    """A folder that holds the two files of one DICOM slide, under other names."""
    for index in (0, 1):
        shutil.copyfile(data_dir / "slides" / f"openslide_boxes_{index}.dcm", tmp_path / f"{index}.dcm")
    return tmp_path


@pytest.mark.real
def test_two_dicom_files_are_one_slide(dicom):
    for name in (dicom / "0.dcm", dicom / "1.dcm", dicom):
        with open_slide(name) as slide:
            assert slide.info.files == (dicom / "0.dcm", dicom / "1.dcm")
            assert slide.info.vendor == "dicom"
            assert read_overview(slide, 1.0).rgb.shape == (8, 8, 3)


@pytest.mark.real
def test_other_files_are_no_part_of_a_dicom_slide(dicom):
    of_another_slide = dicom / "2.dcm"
    data = (dicom / "0.dcm").read_bytes()
    at = data.index(b"\x20\x00\x0e\x00UI") + 8
    of_another_slide.write_bytes(data[:at] + b"2" + data[at + 1 :])
    (dicom / "notes.txt").write_text("text")
    with open_slide(dicom / "0.dcm") as slide:
        assert slide.info.files == (dicom / "0.dcm", dicom / "1.dcm")
    with pytest.raises(SlideError, match="more than one"):
        existing_file(dicom)
