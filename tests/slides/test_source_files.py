from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from wsi_necrosis.errors import ReadError, SlideChangedError
from wsi_necrosis.slides.fingerprint import PIECE_BYTES, PIECES, slide_fingerprint
from wsi_necrosis.slides.source_files import MOST_FILES, SourceFiles, system_error


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files, of which the fingerprint covers the first in part."""
    paths = [tmp_path / "a.dat", tmp_path / "b.dat"]
    paths[0].write_bytes(bytes(2 * PIECES * PIECE_BYTES))
    paths[1].write_bytes(b"second")
    return paths


def test_files_that_stay_as_they_are_pass(files: list[Path]) -> None:
    source = SourceFiles.of(files)
    source.require_readable()
    source.require_unchanged()
    source.require_same(slide_fingerprint(files))


def test_a_cut_file_is_a_read_error_and_a_change(files: list[Path]) -> None:
    source = SourceFiles.of(files)
    os.truncate(files[1], 3)
    with pytest.raises(ReadError, match=r"b\.dat was cut from 6 to 3 bytes"):
        source.require_readable()
    with pytest.raises(SlideChangedError, match=r"b\.dat changed .*from 6 to 3 bytes.*--overwrite"):
        source.require_unchanged()


def test_a_file_that_grew_is_readable_and_changed(files: list[Path]) -> None:
    source = SourceFiles.of(files)
    files[1].write_bytes(b"second and more")
    source.require_readable()
    with pytest.raises(SlideChangedError, match="from 6 to 15 bytes"):
        source.require_unchanged()


def test_a_file_that_was_written_again_has_changed(files: list[Path]) -> None:
    source = SourceFiles.of(files)
    stamp = files[1].stat()
    os.utime(files[1], ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    with pytest.raises(SlideChangedError, match="was written again"):
        source.require_unchanged()


def test_other_content_of_the_same_size_and_time_is_found_by_the_fingerprint(files: list[Path]) -> None:
    source, fingerprint = SourceFiles.of(files), slide_fingerprint(files)
    stamp = files[1].stat()
    files[1].write_bytes(b"SECOND")
    os.utime(files[1], ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    source.require_unchanged()
    with pytest.raises(SlideChangedError, match="content is another"):
        source.require_same(fingerprint)


def test_a_file_that_is_gone_is_a_read_error(files: list[Path]) -> None:
    source = SourceFiles.of(files)
    files[0].unlink()
    for ask in (source.require_readable, source.require_unchanged, lambda: SourceFiles.of(files)):
        with pytest.raises(ReadError, match=r"a\.dat is not there any more \(No such file"):
            ask()


def test_a_file_whose_end_the_system_cannot_read_is_a_read_error(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self, _: int) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    source = SourceFiles.of(files)
    monkeypatch.setattr(Path, "open", lambda *_, **__: Failing())
    with pytest.raises(ReadError, match=r"a\.dat cannot be read \(Input/output error\)"):
        source.require_readable()


def test_of_very_many_files_some_are_asked_after_each_error_and_all_at_the_end(tmp_path: Path) -> None:
    files = [tmp_path / f"{at:04d}" for at in range(MOST_FILES + 1)]
    for file in files:
        file.write_bytes(b"tile")
    source, fingerprint = SourceFiles.of(files), slide_fingerprint(files)
    files[-1].write_bytes(b"til")
    source.require_unchanged()
    with pytest.raises(SlideChangedError, match="from 4 to 3 bytes"):
        source.require_same(fingerprint)


def test_an_error_of_the_system_is_found_behind_those_that_it_led_to() -> None:
    of_the_system = OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    led_to = ValueError("no chunk")
    led_to.__cause__ = of_the_system
    assert system_error(led_to) is of_the_system
    assert system_error(OSError("broken data stream")) is None  # a decoder's
    assert system_error(ValueError("damage")) is None
