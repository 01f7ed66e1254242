"""Names of slides replaced by codes, which only the holder of a key can lead back to the slides."""

from __future__ import annotations

import csv
import hashlib
import hmac
import os
import re
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsi_necrosis.errors import StoreError, UsageError, WsiNecrosisError
from wsi_necrosis.export.csv_table import write_csv
from wsi_necrosis.slides.finding import Skipped
from wsi_necrosis.slides.fingerprint import slide_fingerprint
from wsi_necrosis.slides.slide import open_slide

from .inputs import BatchSlide, Gathered

DIGITS = 12
KEY_BYTES = 32
LEAST_KEY_BYTES = 16
PART_OF_A_WORD = 4  # letters; shorter names are replaced where they are whole words
KEY_TABLE, COLUMNS = "key.csv", ("code", "path", "slide_id", "case", "block")
NAMED = ("case", "block")  # of a manifest: what may name a patient
CHECKED = ("role",)  # holds one of a few words
ONLY_OWNER = 0o600
A_FILE = "a file"


class Anonymiser:
    """Codes for the slides of a batch, and texts without their names.

    A slide's code is the start of an HMAC of its content, so that it is the same wherever the slide lies. `key.csv`
    beside the key says which slide each code is.

    Parameters
    ----------
    key_file : Path
        The key; one that does not exist is made.
    out : Path
        Folder of results, which must not hold the key.
    others : sequence of Path
        Other paths that the command names (of a model, of tables), which may name a user or a patient.

    Raises
    ------
    UsageError
        The key is in the folder of results, too short, or cannot be read.
    """

    def __init__(self, key_file: Path, out: Path, others: Iterable[Path] = ()) -> None:
        if key_file.resolve().is_relative_to(out.resolve()):
            raise UsageError(f"the key {key_file} would lie in the results {out}; name a file elsewhere")
        try:
            if not key_file.exists():
                _write_for_owner(key_file, secrets.token_hex(KEY_BYTES))
            self._key = key_file.read_bytes().strip()
        except OSError as error:
            raise UsageError(
                f"{key_file} cannot be read or made ({error.strerror}); name another file"
            ) from None
        if len(self._key) < LEAST_KEY_BYTES:
            raise UsageError(
                f"{key_file} holds fewer than {LEAST_KEY_BYTES} bytes; name a file that does not exist"
            )
        self._table = key_file.with_name(KEY_TABLE)
        self._codes: dict[str, str] = {}
        self._hide_path(Path(sys.prefix), "PYTHON")
        self._hide_path(Path.home(), "HOME")
        self._hide_path(out, "OUT")
        for path in (key_file, *others):
            self._hide_path(path, A_FILE)

    def code(self, text: str) -> str:
        """Twelve digits for a text, always the same ones under one key."""
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:DIGITS]

    def gathered(self, given: Gathered) -> Gathered:
        """The slides under their codes; of slides of one content the first, the others are passed over.

        `key.csv` is brought up to date.

        Raises
        ------
        StoreError
            `key.csv` cannot be read or written.
        """
        by_code: dict[str, BatchSlide] = {}
        skipped = list(given.skipped)
        for slide in given.slides:
            content, scenes = _content(slide)
            code = self.code(content if slide.scene is None else f"{content} {slide.scene}")
            for name in scenes:
                self.hide(name, "a scene")
            self._codes |= dict.fromkeys(_names_of(slide), code)
            self._hide_path(slide.path, code)
            if code in by_code:
                skipped.append(Skipped(slide.path, f"it has the content of {code}"))
                continue
            by_code[code] = slide
        self._write_table(by_code.items())
        slides = (self._anonymous(slide, code) for code, slide in by_code.items())
        for each in skipped:
            self._hide_path(each.path, A_FILE)
            self.hide(each.path.name, A_FILE)
        nameless = (Skipped(Path(A_FILE), self.scrub(each.reason)) for each in skipped)
        return Gathered(tuple(slides), tuple(nameless), tuple(map(self.scrub, given.warnings)))

    def hide(self, text: str, instead: str) -> None:
        """Replace a text by another one from now on; one that is replaced already stays so."""
        if _tells_something(text):
            self._codes.setdefault(text, instead)

    def scrub(self, text: str) -> str:
        """The text with each slide's paths and names replaced by its code."""
        for secret in sorted((each for each in self._codes if each in text), key=len, reverse=True):
            code = self._codes[secret]
            if len(secret) < PART_OF_A_WORD:
                text = re.sub(rf"(?<![^\W_]){re.escape(secret)}(?![^\W_])", code, text)
            else:
                text = text.replace(secret, code)
        return text

    def scrub_tree(self, tree: Any) -> Any:
        """Nested mappings and lists with all texts in them scrubbed."""
        if isinstance(tree, Mapping):
            return {key: self.scrub_tree(value) for key, value in tree.items()}
        if isinstance(tree, list | tuple):
            return [self.scrub_tree(value) for value in tree]
        return self.scrub(tree) if isinstance(tree, str) else tree

    def _hide_path(self, path: Path, instead: str) -> None:
        """Hide a path, however it is written, and the folders above it."""
        for each in {path.absolute(), path.resolve()}:
            self.hide(str(each), instead)
            for above in each.parents:
                self.hide(str(above), "...")
        if len(path.parts) > 1:
            self.hide(str(path), instead)

    def _anonymous(self, slide: BatchSlide, code: str) -> BatchSlide:
        kept = {name for name, value in slide.facts.items() if name in CHECKED or value.isdecimal()} - {
            *NAMED
        }
        facts = {name: value if name in kept else self.code(value) for name, value in slide.facts.items()}
        mpp = slide.mpp and replace(slide.mpp, by=slide.mpp.by.split()[0])  # without the name of a table
        return replace(slide, name=code, facts=facts, mpp=mpp, is_anonymous=True)

    def _write_table(self, slides: Iterable[tuple[str, BatchSlide]]) -> None:
        rows = {row["code"]: row for row in self._rows()}
        for code, slide in slides:
            facts = {name: slide.facts.get(name, "") for name in NAMED}
            rows[code] = {"code": code, "path": str(slide.path), "slide_id": slide.name, **facts}
        write_csv(self._table, list(rows.values()), COLUMNS)
        self._table.chmod(ONLY_OWNER)

    def _rows(self) -> list[dict[str, str]]:
        if not self._table.exists():
            return []
        try:
            with self._table.open(encoding="utf-8-sig", newline="") as stream:
                rows = list(csv.DictReader(stream))
        except (OSError, ValueError, csv.Error) as error:
            raise StoreError(f"{self._table} cannot be read ({error}); move it away") from None
        if any("code" not in row for row in rows):
            raise StoreError(f"{self._table} is no table of codes; move it away")
        return rows


def _content(slide: BatchSlide) -> tuple[str, Sequence[str]]:
    """Fingerprint of a slide's content (of a file that cannot be opened that of the file, else its path); scenes."""
    scenes: Sequence[str] = ()
    try:
        with open_slide(slide.path) as opened:
            files, scenes = opened.info.files, opened.info.scene_names
    except WsiNecrosisError:
        files = (slide.path,)
    try:
        return slide_fingerprint(files), scenes
    except WsiNecrosisError:
        return str(slide.path), scenes


def _names_of(slide: BatchSlide) -> list[str]:
    """Texts that would tell whose slide it is."""
    path, real = slide.path, slide.path.resolve()
    given = (slide.facts.get(name, "") for name in NAMED)
    names = (str(path), str(real), slide.name, path.name, real.name, path.stem, real.stem, *given)
    return [name for name in names if _tells_something(name)]


def _tells_something(text: str) -> bool:
    """Whether a text may name somebody; a few digits would be found in every other number."""
    return len(text) >= PART_OF_A_WORD or any(letter.isalpha() for letter in text)


def _write_for_owner(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, ONLY_OWNER), "w") as stream:
        stream.write(text)
