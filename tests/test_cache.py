from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wsi_necrosis.cache import SEAL, VARIABLE, cache_folder, cached_folder

ONE, OTHER = "00000001", "0000000f"


class Maker:
    """Writes two files, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, folder: Path) -> None:
        self.times += 1
        (folder / "network").write_bytes(b"weights")
        (folder / "facts").write_text(f"made {self.times}")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_cache_is_where_the_user_says() -> None:
    assert cache_folder({VARIABLE: "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert cache_folder({VARIABLE: "", "XDG_CACHE_HOME": "/b"}) == Path("/b/wsi-necrosis")
    assert cache_folder({}) == Path.home() / ".cache" / "wsi-necrosis"


def test_it_is_made_once_for_each_key(place: Path) -> None:
    make = Maker()
    for _ in range(3):
        with cached_folder(ONE, make) as folder:
            assert (folder / "network").read_bytes() == b"weights"
    assert make.times == 1
    with cached_folder(OTHER, make) as folder:
        assert (folder / "facts").read_text() == "made 2"
    assert sorted(path.name for path in place.iterdir()) == [ONE, OTHER]


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "network").write_bytes(b"weighty"),
        lambda folder: (folder / "network").unlink(),
        lambda folder: (folder / SEAL).write_text("{"),
        lambda folder: (folder / SEAL).write_text("[]"),
        lambda folder: (folder / SEAL).unlink(),
        lambda folder: (folder / "more").write_text("not ours"),
    ],
    ids=["changed", "missing", "no JSON", "other JSON", "no seal", "surplus"],
)
def test_what_is_damaged_is_made_again(place: Path, harm: Callable[[Path], object]) -> None:
    make = Maker()
    with cached_folder(ONE, make):
        pass
    harm(place / ONE)
    for _ in range(2):
        with cached_folder(ONE, make) as folder:
            assert (folder / "network").read_bytes() == b"weights"
            assert (folder / "facts").read_text() == "made 2"
    assert not (place / ONE / "more").exists()


def test_without_a_writable_cache_it_is_made_for_this_use_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    make = Maker()
    with cached_folder(ONE, make) as folder:
        assert (folder / "network").read_bytes() == b"weights"
    assert not folder.exists()
    assert make.times == 1
    assert f"set {VARIABLE} to a writable folder" in caplog.text


def test_what_fails_leaves_nothing(place: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), cached_folder(ONE, fail):
        pass
    assert list(place.iterdir()) == []


def test_an_error_while_the_folder_is_used_passes_through(place: Path) -> None:
    make = Maker()
    with pytest.raises(OSError, match="mine"), cached_folder(ONE, make):
        raise OSError("mine")
    assert make.times == 1


def test_threads_may_ask_at_once(place: Path) -> None:
    make = Maker()

    def ask(_: int) -> bytes:
        with cached_folder(ONE, make) as folder:
            return (folder / "network").read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {b"weights"}
    assert [path.name for path in place.iterdir()] == [ONE]


def test_processes_may_ask_at_once(place: Path) -> None:
    code = (
        "from wsi_necrosis.cache import cached_folder; from pathlib import Path\n"
        "with cached_folder('00000001', lambda folder: (folder / 'a').write_text('whole')) as folder:\n"
        "    print((folder / 'a').read_text())"
    )
    asked = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(4)
    ]
    assert [process.communicate()[0].strip() for process in asked] == ["whole"] * 4
    assert [path.name for path in place.iterdir()] == [ONE]


@pytest.mark.parametrize("key", ["../../x", "/x", "default-openvino-12345678", "", "."])
def test_a_key_that_is_no_digest_could_lead_out_of_the_cache(key: str, place: Path) -> None:
    with pytest.raises(ValueError, match="is no digest"), cached_folder(key, Maker()):
        pass


@pytest.mark.parametrize("inside", [False, True], ids=["the cache", "a folder in it"])
def test_what_others_may_write_is_not_used(
    inside: bool, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make = Maker()
    with cached_folder(ONE, make) as folder:
        (folder if inside else place).chmod(0o777)
    with cached_folder(ONE, make) as folder:
        assert place not in folder.parents
        assert (folder / "facts").read_text() == "made 2"
    assert "other users may write to the cache" in caplog.text
    assert "chmod go-w" in caplog.text


def test_the_cache_is_made_for_its_user_alone(place: Path) -> None:
    with cached_folder(ONE, Maker()) as folder:
        assert [path.stat().st_mode & 0o077 for path in (place, folder)] == [0, 0]
