"""Wrap the long lines of a page in Markdown."""

from __future__ import annotations

import re
import textwrap

WIDTH = 120


def wrapped(text: str) -> str:
    """The page with no line over 120 characters, tables, headings and code aside.

    Examples
    --------
    >>> print(wrapped("- " + "word " * 25))
    - word word word word word word word word word word word word word word word word word word word word word word word
      word word
    """
    lines, code = [], False
    for line in text.splitlines():
        code ^= line.startswith("```")
        keep = code or len(line) <= WIDTH or line.startswith(("|", "#"))
        lines += [line] if keep else _wrapped_line(line)
    return "\n".join(lines) + "\n"


def _wrapped_line(line: str) -> list[str]:
    """A line in parts; the later ones of an item of a list are indented as its text is."""
    bullet = re.match(r" *(- )?", line)
    indent = " " * (bullet.end() if bullet else 0)
    return textwrap.wrap(
        line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
