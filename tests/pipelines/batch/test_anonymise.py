import csv
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.helpers.command import in_process
from wsi_necrosis import stages
from wsi_necrosis.errors import StoreError, UsageError
from wsi_necrosis.model.spec import model_folder
from wsi_necrosis.pipelines.batch.anonymise import Anonymiser
from wsi_necrosis.pipelines.batch.inputs import BatchSlide, Gathered
from wsi_necrosis.slides.phantom import write_phantom

SECRETS = (
    "Doeringer", "Janina", "ward-7", "C-4711", "B-99-x", "m.csv", "Li.tiff", "M\u00fcller", "M\\u00fc", "Lund-lab",
    "sizes-of", "Olsson", "by Eva", "secret",
)  # fmt: skip
WHOLE_WORDS = ("Li", "Xu")  # too short to be looked for within others


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A manifest of slides with telling names: good ones, and three that fail."""
    ward = tmp_path / "ward-7" / "Müller"
    ward.mkdir(parents=True)
    write_phantom(ward / "Doeringer Janina 1931.tiff", side_mm=0.5)
    write_phantom(ward / "Li.tiff", np.random.default_rng(1), side_mm=0.5)
    (ward / "Janina text.svs").write_text("no slide")
    with tifffile.TiffWriter(ward / "p.ome.tiff", ome=True) as tiff:
        for name in ("Doeringer left", "Olsson right"):
            tiff.write(np.full((64, 64, 3), 243, np.uint8), photometric="rgb", metadata={"Name": name})
    rows = (
        "Doeringer Janina 1931.tiff,C-4711,B-99-x,slab,by Eva,2,",
        "Li.tiff,Xu,7,slab,1,1,",
        "Janina text.svs,C-4711,,,,,",
        "Doeringer lost.svs,C-4711,,,,,",
        "p.ome.tiff,C-4711,,,,,3",
    )
    (ward / "m.csv").write_text("\n".join(("path,case,block,role,slab,slab_row,scene", *rows)))
    (ward / "sizes-of.csv").write_text("name,mpp_x\nLi.tiff,0.5\nOlsson.svs,0.5\n")
    shutil.copytree(model_folder("phantom"), tmp_path / "Lund-lab" / "model")
    return ward


def command(folder: Path, out: Path, key: Path) -> tuple[str, ...]:
    model = folder.parents[1] / "Lund-lab" / "model"
    settings = ("--model", str(model), "--set", "cluster.processes=false", "--set", "cluster.workers=1")
    named = ("batch", str(folder / "m.csv"), "-o", str(out), "--anonymise", str(key))
    return (*named, "--mpp-table", str(folder / "sizes-of.csv"), *settings)


def telling(out: Path) -> list[tuple[str, str]]:
    """Every name that a file of the results, or its path, holds; numbers of a picture are none."""
    found = []
    for path in (path for path in out.rglob("*") if path.is_file()):
        data, name = path.read_bytes(), str(path.relative_to(out))
        found += [(name, each) for each in SECRETS if each.encode() in data or each in name]
        text = data.decode("latin-1") if path.suffix in {".json", ".csv", ".txt", ".log", ".geojson"} else ""
        found += [(name, each) for each in WHOLE_WORDS if re.search(rf"\b{each}\b", f"{text} {name}")]
    return found


def coded(table: Path) -> dict[str, dict[str, str]]:
    """Rows of the table of codes, by the slide's path."""
    with table.open(encoding="utf-8-sig", newline="") as stream:
        return {row["path"]: row for row in csv.DictReader(stream)}


def test_no_name_is_in_any_output(folder: Path, tmp_path: Path) -> None:
    out, key = tmp_path / "out", tmp_path / "secret" / "key"
    key.parent.mkdir()
    done = in_process(*command(folder, out, key))
    assert done.returncode == 3, done.stderr
    files = {path.name for path in out.rglob("*") if path.is_file()}
    assert {"result.json", "log.txt", "failures.csv", "summary.csv", "run.json", "regions.geojson"} <= files
    assert telling(out) == []
    results = [json.loads(path.read_text()) for path in out.rglob("result.json")]
    by_row = {result["manifest"]["slab_row"]: result for result in results}
    result = by_row["2"]
    assert [len(each["slide_id"]) for each in results] == [12, 12]
    assert {each["path"] for each in results} == {""}
    assert result["manifest"]["role"] == "slab"
    assert (by_row["1"]["manifest"]["slab"], len(result["manifest"]["slab"])) == ("1", 12)
    row = coded(key.parent / "key.csv")[str(folder / "Doeringer Janina 1931.tiff")]
    assert (row["code"], row["case"]) == (result["slide_id"], "C-4711")
    assert key.stat().st_mode & 0o077 == (key.parent / "key.csv").stat().st_mode & 0o077 == 0
    again = in_process(*command(folder, out, key))
    assert "2 of them are up to date" in again.stderr
    assert len(list((out / "slides").iterdir())) == 2


def test_no_name_is_in_a_traceback(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an error that nobody expected, which names the slide in more than one way, and Python's own folder."""
    slide = folder / "Li.tiff"

    def fail(*given: object) -> None:
        raise ZeroDivisionError(f"{slide} of Xu: Li (see {sys.prefix}/x and {folder.parent}/y) in Lind")

    monkeypatch.setattr(stages, "read_overview", fail)
    out, key = tmp_path / "out", tmp_path / "key"
    assert in_process(*command(folder, out, key)).returncode == 4
    assert telling(out) == []
    (log,) = out.glob("runs/*.log")
    text = log.read_text()
    code = coded(tmp_path / "key.csv")[str(slide)]["code"]
    assert f"ZeroDivisionError: {code} of {code}: {code} (see PYTHON/x and .../y) in Lind" in text
    assert "Traceback" in text
    assert sys.prefix not in text


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
