from __future__ import annotations

import os
import shutil
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from wsi_necrosis.errors import SlideError
from wsi_necrosis.slides.dicom_files import WHOLE_SLIDE, check_dicom, dicom_head, only_slide, series_files
from wsi_necrosis.slides.slide import open_slide

REPORT = "1.2.840.10008.5.1.4.1.1.88.33"
EXPLICIT = "1.2.840.10008.1.2.1"


def write(path: Path, series: str | None = "1.2.3", kind: str = WHOLE_SLIDE, **facts: object) -> Path:
    """A DICOM object without pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, "1.2.3.4"
    meta.TransferSyntaxUID = EXPLICIT
    data = FileDataset(str(path), Dataset(), file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = kind, "1.2.3.4"
    if series is not None:
        data.SeriesInstanceUID = series
    shape = {"Rows": 16, "Columns": 16, "TotalPixelMatrixRows": 16, "TotalPixelMatrixColumns": 16}
    usual = {
        "BitsAllocated": 8,
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "NumberOfFrames": 1,
    }
    for name, value in (shape | usual | facts).items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("name", [".DS_Store", "._a.dcm", "Thumbs.db", "LICENSE", "DICOMDIR"])
def test_what_lies_beside_a_slide_is_passed_over(tmp_path: Path, name: str) -> None:
    slide = write(tmp_path / "b.dcm")
    content = slide.read_bytes()[:140] if name == "DICOMDIR" else b"\0\0\0\1Bud1"
    (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "folder.dcm").mkdir()
    assert only_slide(tmp_path) == slide
    assert series_files(slide) == [slide]


def test_only_whole_slide_images_of_one_series_are_a_slide(tmp_path: Path) -> None:
    slide = write(tmp_path / "b.dcm")
    write(tmp_path / "a report.dcm", "1.2.9", REPORT)
    write(tmp_path / "a.dcm", None)  # of no series: equal to no other
    write(tmp_path / "c.dcm", None)
    assert only_slide(tmp_path) == slide
    assert series_files(tmp_path / "a.dcm") == [tmp_path / "a.dcm"]
    write(tmp_path / "d.dcm", "1.2.77")
    with pytest.raises(SlideError, match=r"more than one DICOM slide.*b\.dcm, d\.dcm"):
        only_slide(tmp_path)


def test_a_series_inside_a_sequence_is_not_the_files_own(tmp_path: Path) -> None:
    item = Dataset()
    item.SeriesInstanceUID = "9.9.9"
    path = write(tmp_path / "a.dcm", "1.2.3", ReferencedSeriesSequence=Sequence([item]))
    assert dicom_head(path).series == "1.2.3"


def test_a_series_far_into_the_file_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", "1.2.3", ICCProfile=bytes(400_000), ImageComments="x" * 4000)
    data = pydicom.dcmread(path)
    data.add_new(0x00091001, "OB", bytes(400_000))
    data.add_new(0x00090010, "LO", "a maker")
    data.save_as(path)
    assert dicom_head(path).series == "1.2.3"


def test_a_folder_of_exported_media_names_the_folder_below(tmp_path: Path) -> None:
    write(tmp_path / "DICOM" / "a.dcm")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SlideError, match=r"name .*DICOM$"):
        only_slide(tmp_path)
    with pytest.raises(SlideError, match="name a slide file"):
        only_slide(tmp_path / "empty")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"kind": REPORT}, "no whole-slide image"),
        ({"BitsAllocated": 16}, "16 bits"),
        ({"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}, "MONOCHROME2"),
        ({"Rows": 65_535, "Columns": 65_535}, "frames of 65535 x 65535"),
        ({"NumberOfFrames": 900}, "900 frames"),
    ],
)
def test_what_no_reader_takes_is_refused_by_name(tmp_path: Path, facts: dict[str, object], said: str) -> None:
    path = write(tmp_path / "a.dcm", **facts)
    with pytest.raises(SlideError, match=said):
        check_dicom(path)
    with pytest.raises(SlideError, match=said):
        open_slide(path)


def test_a_coding_that_openslide_lacks_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm")
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.80"
    data.PixelData = encapsulate([b"no picture"])
    data["PixelData"].VR = "OB"
    data.save_as(path)
    with pytest.raises(SlideError, match="JPEG-LS Lossless"):
        open_slide(path)


@pytest.mark.real
def test_a_real_slide_has_both_files_whatever_lies_beside(tmp_path: Path, data_dir: Path) -> None:
    for index in (0, 1):
        shutil.copyfile(data_dir / "slides" / f"openslide_boxes_{index}.dcm", tmp_path / f"{index}.dcm")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    write(tmp_path / "report.dcm", "1.2.9", REPORT)
    with open_slide(tmp_path) as slide:
        assert [file.name for file in slide.info.files] == ["0.dcm", "1.dcm"]


def test_frames_that_are_missing_without_a_reason_are_refused(tmp_path: Path) -> None:
    """Where all are stored by their order, missing ones would put the others at wrong places."""
    wide = {"TotalPixelMatrixColumns": 64, "NumberOfFrames": 2}
    with pytest.raises(SlideError, match=r"holds 2 frames of 16 x 16 px for a plane of 64 x 16"):
        check_dicom(write(tmp_path / "a.dcm", **wide, DimensionOrganizationType="TILED_FULL"))
    check_dicom(write(tmp_path / "b.dcm", **wide, DimensionOrganizationType="TILED_SPARSE"))
    part = {"ConcatenationUID": "1.2.9", "DimensionOrganizationType": "TILED_FULL"}
    check_dicom(write(tmp_path / "c.dcm", **wide, **part))


def test_the_reason_of_a_slide_that_does_not_open_is_its_own(tmp_path: Path) -> None:
    label = write(tmp_path / "a" / "a.dcm", ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"])
    with pytest.raises(SlideError, match="the file is its label image"):
        open_slide(label)
    volume = write(tmp_path / "b" / "b.dcm", ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    with pytest.raises(SlideError) as caught:
        open_slide(volume)
    assert "coded as" not in str(caught.value)


def test_an_element_of_a_wrong_length_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm")
    data = path.read_bytes()
    at = data.index(b"\x48\x00\x06\x00UL")  # TotalPixelMatrixColumns
    path.write_bytes(data[: at + 6] + (7).to_bytes(2, "little") + data[at + 8 :])
    with pytest.raises(SlideError):
        open_slide(path)
