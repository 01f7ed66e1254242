from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsi_necrosis.errors import SlideError
from wsi_necrosis.slides.slide import open_slide


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.svs", b"<!DOCTYPE html><html>", "web page"),
        ("a.ndpi", b"\n <HTML lang='en'>", "web page"),
        ("a.svs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        ("a.tiff", b"PK\x03\x04 and so on", "ZIP archive"),
        ("a.tif", b"%PDF-1.7", "PDF"),
        ("a.vsi", b"no TIFF", "bfconvert"),
        ("a.isyntax", b"what it holds", "isyntax2raw"),
    ],
)
def test_what_is_no_slide_is_called_by_its_name(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SlideError, match=said):
        open_slide(tmp_path / name)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.svs")
    with pytest.raises(SlideError, match="a pipe"):
        open_slide(tmp_path / "a.svs")


def mirax(folder: Path, name: str, *, beside: bool = True, index: bool = True) -> Path:
    (folder / name).write_bytes(b"\xff\xd8\xff\xe0 a thumbnail")
    if beside:
        (folder / name).with_suffix("").mkdir()
        (folder / name).with_suffix("").joinpath("Data0000.dat").write_bytes(b"pixels")
    if index:
        (folder / name).with_suffix("").joinpath("Slidedat.ini").write_text("[GENERAL]")
    return folder / name


def test_a_mirax_slide_says_what_is_missing_of_it(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match=r"folder alone is missing"):
        open_slide(mirax(tmp_path, "alone.mrxs", beside=False, index=False))
    with pytest.raises(SlideError, match=r"noini/Slidedat\.ini is missing"):
        open_slide(mirax(tmp_path, "noini.mrxs", index=False))
    with pytest.raises(SlideError, match="small letters"):
        open_slide(mirax(tmp_path, "UPPER.MRXS"))


@pytest.mark.parametrize("part", ["", "Slidedat.ini", "Data0000.dat"])
def test_a_part_of_a_mirax_slide_names_the_slide(tmp_path: Path, part: str) -> None:
    slide = mirax(tmp_path, "good [1].mrxs")
    with pytest.raises(SlideError, match=r"name .*good \[1\]\.mrxs"):
        open_slide(slide.with_suffix("") / part)
