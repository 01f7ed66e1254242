from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.command import in_process
from wsi_necrosis.errors import UsageError
from wsi_necrosis.metrics.readers import bland_altman, icc
from wsi_necrosis.pipelines.agree import read_readings

# Percent viable of eight cases; the model reads too much where little is viable.
READ = {
    "A": [0, 4, 9, 20, 45, 60, 80, 95],
    "B": [1, 6, 12, 15, 50, 55, 85, 97],
    "C": [0, 3, 8, 25, 40, 70, 78, 90],
    "model": [20, 22, 25, 30, 50, 60, 80, 92],
}


def written(path: Path, leave_out: tuple[str, int] | None = None) -> Path:
    rows = [
        f"case {at},{reader},{value}"
        for reader, values in READ.items()
        for at, value in enumerate(values)
        if (reader, at) != leave_out
    ]
    path.write_text("\n".join(["case,reader,percent_viable", *rows]) + "\n")
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as handle:
        return list(csv.DictReader(handle))


def test_readers_are_compared_and_the_model_with_their_consensus(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = in_process("agree", str(written(tmp_path / "readers.csv")), "-o", str(out))
    assert done.returncode == 0, done.stderr
    pairs = table(out / "pairs.csv")
    assert [(row["first"], row["second"]) for row in pairs] == [
        ("model", "consensus"), ("A", "B"), ("A", "C"), ("B", "C"),
    ]  # fmt: skip
    limits = bland_altman(READ["A"], READ["B"])
    assert float(pairs[1]["bias"]) == pytest.approx(limits.bias)
    assert float(pairs[1]["low"]) == pytest.approx(limits.low, abs=1e-4)
    facts = json.loads((out / "agreement.json").read_text())
    expected = icc(list(zip(*(READ[name] for name in "ABC"), strict=True)))
    assert facts["icc"]["value"] == pytest.approx(expected.value, abs=1e-4)
    assert facts["left_out_of_icc"] == []
    graded = {(row["reader"], row["grade"]): row for row in table(out / "by_grade.csv")}
    assert float(graded["model", "III"]["mean_error"]) > 15
    assert abs(float(graded["model", "I"]["mean_error"])) < 3
    assert f"ICC(2,1) {expected.value:.2f}" in done.stdout
    with Image.open(out / "bland-altman.png") as plot:
        assert plot.width > 1000


def test_a_case_that_one_reader_left_out_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "readers.csv", leave_out=("B", 3))
    assert in_process("agree", str(path), "-o", str(tmp_path / "out")).returncode == 0
    facts = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert facts["left_out_of_icc"] == ["case 3"]
    assert facts["icc"]["n_cases"] == 7
    assert [row["cases"] for row in table(tmp_path / "out" / "pairs.csv")] == ["8", "7", "8", "7"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,A,101\na,B,3\n", "row 2 gives '101'; percent viable is a number from 0 to 100"),
        ("a,A,\na,B,3\n", "a case that was not read has no row"),
        ("a,A,1\na,A,3\n", "A read the case a twice"),
        ("a1,A,1\nA-1,B,3\n", "writes cases in more than one way"),
        ("a,A,1\na,model,3\n", "1 readers and 1 cases"),
        ("a,,1\n", "row 2 names no case or no reader"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, rows: str, said: str) -> None:
    path = tmp_path / "readers.csv"
    path.write_text(f"case,reader,percent_viable\n{rows}")
    with pytest.raises(UsageError, match=said):
        read_readings(path, "model")


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "readers.csv"
    path.write_text("case,A,B\n1,2,3\n")
    with pytest.raises(UsageError, match="lacks the columns reader, percent_viable"):
        read_readings(path, "model")
