"""Names of the user's system as text that every output can hold: valid UTF-8, on one line, and not too long."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path

# Of the name of a folder of results; systems take 255, and folders of work have a longer one.
MOST_BYTES = 200
TAIL_BYTES = 40  # of a shortened name: its end tells formats and levels apart
ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|n|r|t)")
LETTERS = {"n": "\n", "r": "\r", "t": "\t"}
UNSEEN = {"Cc", "Cs", "Zl", "Zp"}  # categories: control characters, halves of pairs, separators of lines


def printable(text: str | Path) -> str:
    r"""A name or path on one line of valid UTF-8; bytes and characters that cannot be shown become escapes.

    Examples
    --------
    >>> printable("Fall 7 \u00e4.svs"), printable("a\nb.svs"), printable(b"a\xff.svs".decode(errors="surrogateescape"))
    ('Fall 7 ä.svs', 'a\\nb.svs', 'a\\xff.svs')
    """
    return "".join(_escaped(each) if unicodedata.category(each) in UNSEEN else each for each in str(text))


def safe_name(name: str) -> str:
    """A slide's name as text and as path of its results: `printable`, and parts of more than 200 bytes without middle.

    A digest takes the place of the middle, so that two long names stay two.

    Examples
    --------
    >>> safe_name("CASE 1/=1+1.svs")
    'CASE 1/=1+1.svs'
    >>> len(safe_name("n" * 250 + ".svs")), safe_name("n" * 250 + ".svs")[-6:]
    (200, 'nn.svs')
    """
    return "/".join(_short(printable(part)) for part in name.split("/"))


def path_of(text: str) -> Path:
    r"""The path that `printable` gave as text: the one of that very name where it exists.

    Examples
    --------
    >>> path_of("a\\xff.svs") == Path("a\udcff.svs")
    True
    """
    path = Path(text)
    return path if path.exists() else Path(ESCAPE.sub(_original, text))


def shortened(path: str | Path) -> str:
    """A path for a message, without its middle where it is very long."""
    text = printable(path)
    return text if len(text) <= MOST_BYTES else f"{text[: MOST_BYTES // 2]}...{text[-TAIL_BYTES:]}"


def too_long(path: str | Path) -> str:
    """What to say of a path that the system refuses for its length."""
    n_bytes = len(os.fsencode(path))
    return f"{shortened(path)} ({n_bytes} bytes) is longer than this system takes; give a shorter path"


def _escaped(letter: str) -> str:
    byte = ord(letter) - 0xDC00  # by which Python stands for a byte that is no UTF-8
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else letter.encode("unicode_escape").decode()


def _original(escape: re.Match[str]) -> str:
    code = escape[1]
    if code in LETTERS:
        return LETTERS[code]
    byte = int(code[1:], 16)
    return chr(byte if byte < 0x80 else 0xDC00 + byte)


def _short(part: str) -> str:
    whole = os.fsencode(part)
    if len(whole) <= MOST_BYTES:
        return part
    mark = f"~{hashlib.sha256(whole).hexdigest()[:8]}~"
    head = whole[: MOST_BYTES - TAIL_BYTES - len(mark)].decode(errors="ignore")
    return head + mark + whole[-TAIL_BYTES:].decode(errors="ignore")
