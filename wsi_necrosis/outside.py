"""Text from outside (settings, tables, annotations, models): limited in size, parsed strictly, with short messages."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import stat
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

import yaml
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

MIB = 1 << 20
SETTINGS_MIB = 1  # the shipped files have 10 kB
MODEL_MIB = 16  # `model.json` of the shipped models has 60 kB
WEIGHTS_MIB = 2048  # a network of a billion numbers in float16
TABLE_MIB = 256  # two million rows
ANNOTATIONS_MIB = 256  # unpacked; outlines of ten million points
MOST_VALUES = 100_000  # of a YAML text, with its references written out; the shipped files have 200
XML_MIB = 64  # the description of a slide with thousands of planes has some
DEEPEST_XML = 200  # elements inside one another
SHOWN = 80  # characters of a value in a message
MERGE = "tag:yaml.org,2002:merge"  # `<<: *other`, whose keys may be given anew
GZIP = b"\x1f\x8b"

# What Python's YAML parser raises for some texts beside its own errors: for dates that do not exist, keys that are
# lists, wrong tags, numbers too long for a number, and brackets nested a thousand times.
PARSER_ERRORS = (
    yaml.YAMLError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


class OutsideError(ValueError):
    """A text cannot be taken; the message says why, without the name of its file."""


def brief(value: object, shown: int = SHOWN) -> str:
    """A value as it is written in Python, cut after some characters, so that no message repeats a file.

    Examples
    --------
    >>> brief("a" * 100, shown=10)
    "'aaaaaaaaa... (102 characters)"
    """
    text = repr(value)
    return text if len(text) <= shown else f"{text[:shown]}... ({len(text):,} characters)"


def shortened(message: str) -> str:
    r"""The message of another library as one short line.

    Examples
    --------
    >>> shortened("one\n  two")
    'one two'
    """
    text = " ".join(message.split()) or "no reason given"
    return text if len(text) <= 2 * SHOWN else f"{text[: 2 * SHOWN]}..."


def read_bytes(path: str | Path, limit_mib: int) -> bytes:
    """The content of a regular file, as it is.

    Raises
    ------
    OutsideError
        It cannot be read, is no regular file (a pipe or a device, reading which may never end), or is too large.
    """
    if "\0" in str(path):
        raise OutsideError("cannot be read (no name of a file holds a zero byte)")
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise OutsideError("is no file; give a regular file")
        with Path(path).open("rb") as stream:
            return _limited(stream, limit_mib)
    except OSError as error:
        raise OutsideError(f"cannot be read ({error.strerror or shortened(str(error))})") from None


def read_text(path: str | Path, limit_mib: int) -> str:
    """The text of a file in UTF-8, with or without a byte order mark; one packed by gzip is unpacked.

    Parameters
    ----------
    path : str or Path
        A regular file; a pipe or a device is refused, as reading it may never end.
    limit_mib : int
        Most MiB of text that are taken, after unpacking.

    Raises
    ------
    OutsideError
        It cannot be read, is no regular file, is too large, or is not text in UTF-8.
    """
    data = read_bytes(path, limit_mib)
    if data.startswith(GZIP):
        data = _unpacked(data, limit_mib)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OutsideError("is not text in UTF-8") from None


def parse_json(text: str) -> Any:
    """The value of a JSON text. A key may stand once in an object, and a number must be one: no NaN, no infinity.

    Raises
    ------
    OutsideError
        It is no such JSON, or is nested too deeply.

    Examples
    --------
    >>> parse_json('{"percent": 12.5}')
    {'percent': 12.5}
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise OutsideError("is nested too deeply") from None
    except OutsideError:
        raise
    except ValueError as error:
        raise OutsideError(f"is not valid JSON ({shortened(str(error))})") from None


def parse_yaml(text: str) -> Any:
    """The value of a YAML text, by the core schema of YAML 1.2; a key may stand once in a mapping.

    By YAML 1.1, which PyYAML follows, 1e-2 would be a text, 1:30 be 90, `no` be false, and 2026-01-01 a date.

    Raises
    ------
    OutsideError
        It is no such YAML, is nested too deeply, or stands for too many values, as ten lines that refer to one another
        can.

    Examples
    --------
    >>> parse_yaml("rate: 1e-2")
    {'rate': 0.01}
    """
    try:
        found = yaml.load(text, Loader=_Plain)  # noqa: S506  (a SafeLoader with less)
        _require_few_values(found)
        return found
    except OutsideError:
        raise
    except RecursionError:
        raise OutsideError("is nested too deeply") from None
    except PARSER_ERRORS as error:
        raise OutsideError(f"is not valid YAML ({shortened(str(error))})") from None


def parse_xml(text: str) -> Any:
    """The root element of an XML text, which declares no entities and refers to nothing outside.

    Raises
    ------
    OutsideError
        It is no such XML, is nested too deeply, or is too large.

    Examples
    --------
    >>> parse_xml("<a b='1'/>").attrib
    {'b': '1'}
    """
    if len(text) > XML_MIB * MIB:
        raise OutsideError(f"has more than the {XML_MIB} MiB that are read")
    try:
        root = fromstring(text, forbid_dtd=True)
    except DefusedXmlException:
        raise OutsideError(
            "declares entities or refers to other files, as no slide's description does"
        ) from None
    except (SyntaxError, ValueError, LookupError, RecursionError) as error:
        raise OutsideError(f"is not valid XML ({shortened(str(error))})") from None
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > DEEPEST_XML:
            raise OutsideError("is nested too deeply")
        level = [child for element in level for child in element]
    return root


class _Plain(yaml.SafeLoader):
    """Reads plain values, and no key twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (filled below, as PyYAML does it)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != MERGE]
        _require_once(keys)
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return found


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    _Plain.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def _require_few_values(tree: Any) -> None:
    waiting, count = [tree], 0
    while waiting:
        count += 1
        value = waiting.pop()
        if isinstance(value, dict | list):
            waiting.extend(value.values() if isinstance(value, dict) else value)
        if count > MOST_VALUES:
            raise OutsideError(f"stands for more than {MOST_VALUES:,} values; write those that differ only")


def _unpacked(data: bytes, limit_mib: int) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as stream:
            return _limited(stream, limit_mib)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise OutsideError("is damaged, as it cannot be unpacked") from None


def _limited(stream: IO[bytes] | gzip.GzipFile, limit_mib: int) -> bytes:
    most = limit_mib * MIB + 1  # for which memory is taken before the first byte is read
    if not isinstance(stream, gzip.GzipFile):
        most = min(most, os.fstat(stream.fileno()).st_size + MIB)
    data = stream.read(most)
    if len(data) > limit_mib * MIB:
        raise OutsideError(f"has more than the {limit_mib} MiB that are read")
    return data


def _once(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        _require_once([key for key, _ in pairs])
    return found


def _require_once(keys: Sequence[Any]) -> None:
    seen: set[Any] = set()
    for key in keys:
        if key in seen:
            raise OutsideError(f"gives {brief(key)} twice; keep one of them")
        seen.add(key)


def _no_number(text: str) -> NoReturn:
    raise OutsideError(f"holds {text}, which is no number")


def _finite(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise OutsideError(f"holds {text[:SHOWN]}, which is too large for a number")
    return value
