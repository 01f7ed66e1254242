from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.outside import MIB, OutsideError, brief, parse_json, parse_yaml, read_bytes, read_text

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(PLAIN)
def test_what_was_written_as_json_is_read(tree: object) -> None:
    assert parse_json(json.dumps(tree)) == tree


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_json, parse_yaml):
        try:
            parse(text)
        except OutsideError as error:
            assert len(str(error)) < 400  # noqa: PT017  (either is right)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, NaN]", "holds NaN"),
        ("-Infinity", "holds -Infinity"),
        ("1e999", "holds 1e999, which is too large"),
        ('{"a": 1, "b": 2, "a": 3}', "gives 'a' twice"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "is not valid JSON"),
        ("{", "is not valid JSON"),
    ],
)
def test_json_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(OutsideError, match=message):
        parse_json(text)


BOMB = "a0: &a0 [1]\n" + "".join(f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]\n" for at in range(1, 30))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "gives 'a' twice"),
        (BOMB, "more than 100,000 values"),
        ("a: &a [*a]", "more than 100,000 values"),
        ("[" * 3000 + "]" * 3000, "nested too deeply"),
        ("? [1]\n: 2", "is not valid YAML"),
        ("!!python/object:os.system {}", "is not valid YAML"),
        ("!!timestamp 2026-99-99", "is not valid YAML"),
        ("!!int abc", "is not valid YAML"),
        ("\0", "is not valid YAML"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_yaml_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(OutsideError, match=message):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-2", 0.01), ("1:30", "1:30"), ("no", "no"), ("true", True), ("2026-01-01", "2026-01-01"), ("-3", -3),
        (".5", 0.5), ("~", None), ("", None), ("0x1", "0x1"), ("1_000", "1_000"), ("+1.e3", 1000.0),
    ],
)  # fmt: skip
def test_values_are_read_by_the_core_schema(text: str, value: object) -> None:
    assert parse_yaml(f"a: {text}") == {"a": value}


def test_references_that_stand_for_little_are_read() -> None:
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
    }


@given(
    st.lists(
        st.integers()
        | st.booleans()
        | st.none()
        | st.text(st.characters(min_codepoint=32, max_codepoint=126))
    )
)
def test_json_is_yaml(tree: list[object]) -> None:
    assert parse_yaml(json.dumps(tree)) == tree


def test_files_are_read_with_and_without_a_mark_and_packed(tmp_path: Path) -> None:
    for data in ("ä".encode(), b"\xef\xbb\xbf" + "ä".encode(), gzip.compress("ä".encode())):
        (tmp_path / "a").write_bytes(data)
        assert read_text(tmp_path / "a", 1) == "ä"


def test_files_that_cannot_be_taken_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(MIB + 1))
    (tmp_path / "bomb").write_bytes(gzip.compress(bytes(3 * MIB)))
    (tmp_path / "cut").write_bytes(gzip.compress(bytes(MIB))[:50])
    (tmp_path / "latin").write_bytes("ä".encode("latin-1"))
    for path, message in {
        tmp_path / "pipe": "is no file", Path("/dev/zero"): "is no file", tmp_path: "is no file",
        tmp_path / "large": "more than the 1 MiB", tmp_path / "bomb": "more than the 1 MiB",
        tmp_path / "cut": "cannot be unpacked", tmp_path / "latin": "not text in UTF-8",
        tmp_path / "none": r"cannot be read \(No such file", Path("a\0b"): "cannot be read",
        tmp_path / ("x" * 5000): "cannot be read",
    }.items():  # fmt: skip
        with pytest.raises(OutsideError, match=message):
            read_text(path, 1)


def test_messages_stay_short() -> None:
    assert brief([1, 2]) == "[1, 2]"
    assert len(brief("a" * 10**6)) < 120


def test_memory_follows_the_file_and_not_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"a" * 1000)
    tracemalloc.start()
    try:
        assert read_bytes(path, 2048) == b"a" * 1000
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()
