import csv
import json
from pathlib import Path

import pytest

from tests.helpers.command import in_process
from wsi_necrosis.errors import StoreError, UsageError
from wsi_necrosis.pipelines.batch.anonymise import Anonymiser
from wsi_necrosis.pipelines.batch.inputs import BatchSlide, Gathered
from wsi_necrosis.slides.phantom import write_phantom

SECRETS = ("Doeringer", "Janina", "ward-7", "C-4711", "B-99-x", "m.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A manifest of three slides with telling names: a good one, one that is none, and one that is not there."""
    (tmp_path / "ward-7").mkdir()
    slide = tmp_path / "ward-7" / "Doeringer Janina 1931.tiff"
    write_phantom(slide, side_mm=0.5)
    (tmp_path / "ward-7" / "Janina text.svs").write_text("no slide")
    rows = (
        "Doeringer Janina 1931.tiff,C-4711,B-99-x,slab",
        "Janina text.svs,C-4711,,",
        "Doeringer lost.svs,C-4711,,",
    )
    (tmp_path / "ward-7" / "m.csv").write_text("\n".join(("path,case,block,role", *rows)))
    return tmp_path / "ward-7"


def command(folder: Path, out: Path, key: Path) -> tuple[str, ...]:
    settings = ("--model", "phantom", "--set", "cluster.processes=false")
    return ("batch", str(folder / "m.csv"), "-o", str(out), "--anonymise", str(key), *settings)


def test_no_name_is_in_any_output(folder: Path, tmp_path: Path) -> None:
    out, key = tmp_path / "out", tmp_path / "secret" / "key"
    key.parent.mkdir()
    done = in_process(*command(folder, out, key))
    assert done.returncode == 3, done.stderr
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {"result.json", "log.txt", "failures.csv", "summary.csv", "run.json"} <= {
        path.name for path in files
    }
    for secret in SECRETS:
        assert [path for path in files if secret.encode() in path.read_bytes() or secret in str(path)] == []
    (result,) = (json.loads(path.read_text()) for path in out.rglob("result.json"))
    assert len(result["slide_id"]) == 12
    assert result["path"] == ""
    assert result["manifest"]["role"] == "slab"
    with (key.parent / "key.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = {row["path"]: row for row in csv.DictReader(stream)}
    row = rows[str(folder / "Doeringer Janina 1931.tiff")]
    assert (row["code"], row["case"]) == (result["slide_id"], "C-4711")
    assert key.stat().st_mode & 0o077 == (key.parent / "key.csv").stat().st_mode & 0o077 == 0
    again = in_process(*command(folder, out, key))
    assert "1 of them are up to date" in again.stderr
    assert len(list((out / "slides").iterdir())) == 1


def test_codes_follow_content_and_key(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    (tmp_path / "copy").write_text("one")
    slides = tuple(BatchSlide(tmp_path / name, name) for name in ("one", "two", "copy"))
    (tmp_path / "a").mkdir()
    found = Anonymiser(tmp_path / "a" / "key", tmp_path / "out").gathered(Gathered(slides))
    again = Anonymiser(tmp_path / "a" / "key", tmp_path / "out").gathered(Gathered(slides[::-1]))
    other = Anonymiser(tmp_path / "b", tmp_path / "out").gathered(Gathered(slides))
    assert len(found.slides) == 2  # the copy is passed over
    assert "has the content of" in found.skipped[0].reason
    codes = [{slide.name for slide in each.slides} for each in (found, again, other)]
    assert codes[0] == codes[1]
    assert not codes[0] & codes[2]


def test_keys_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would lie in the results"):
        Anonymiser(tmp_path / "out" / "key", tmp_path / "out")
    (tmp_path / "short").write_text("1234")
    with pytest.raises(UsageError, match="fewer than 16 bytes"):
        Anonymiser(tmp_path / "short", tmp_path / "out")
    with pytest.raises(UsageError, match="cannot be read or made"):
        Anonymiser(tmp_path / "nowhere" / "key", tmp_path / "out")


def test_another_table_beside_the_key_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "key.csv").write_text("name\nx\n")
    with pytest.raises(StoreError, match="no table of codes"):
        Anonymiser(tmp_path / "key", tmp_path / "out").gathered(Gathered(()))
    assert (tmp_path / "key.csv").read_text() == "name\nx\n"
