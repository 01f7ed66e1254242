"""The record of a batch: `run.json`, `runs/<id>.json`, and `failures.csv`, which is made of them."""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wsi_necrosis.errors import PixelSizeError, StoreError, WsiNecrosisError
from wsi_necrosis.export.csv_table import write_csv
from wsi_necrosis.files import remove_leftovers, write_json
from wsi_necrosis.names import printable
from wsi_necrosis.provenance import versions
from wsi_necrosis.report.slide_report import SlideReport
from wsi_necrosis.scores.slide_folder import RESULT, RUNS, SLIDES

from .inputs import BatchSlide, Gathered

RUN, FAILURES = "run.json", "failures.csv"
COLUMNS = ("slide", "path", "stage", "error", "message", "way_out")
EXPORT = "export"  # stage of a failure that leaves the slide's score whole
RUNNING, FINISHED, INTERRUPTED = "running", "finished", "interrupted"
FAILED = "failed"
LEFT_S = 3600  # a half-written record that is older was left by a killed process, whatever the clocks of machines say


@dataclass(frozen=True)
class Failure:
    """A row of `failures.csv`."""

    slide: str
    path: str
    stage: str
    error: str
    message: str
    way_out: str


def failures_of(slide: BatchSlide, outcome: SlideReport | WsiNecrosisError) -> list[Failure]:
    """What went wrong with a slide: the error that ended it, or each export that failed."""
    if isinstance(outcome, WsiNecrosisError):
        message, _, way_out = str(outcome).rpartition("; ")
        if isinstance(outcome, PixelSizeError):
            way_out += ", or a table with --mpp-table"
        said = (message, way_out) if message else (str(outcome), "")
        stage = outcome.stage or "open"
        return [Failure(slide.name, slide.shown_path, stage, type(outcome).__name__, *said)]
    way_out = "run the slide again: its scores are kept"
    codes = ((each.code, each.text) for each in outcome.warnings if each.code == "export_failed")
    return [Failure(slide.name, slide.shown_path, EXPORT, code, text, way_out) for code, text in codes]


class RunRecord:
    """What one run of `batch` was asked and what became of each slide.

    Parameters
    ----------
    out : Path
        Folder of results.
    settings : mapping of str to Any
        Of the run, as they are to be shown.
    command : sequence of str
        As it was typed.
    gathered : Gathered
        Slides, and what was passed over.
    """

    def __init__(
        self, out: Path, settings: Mapping[str, Any], command: Sequence[str], gathered: Gathered
    ) -> None:
        self.out, self.total = out, len(gathered.slides)
        self.run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        self._facts: dict[str, Any] = {
            "run_id": self.run_id,
            "state": RUNNING,
            "command": list(map(printable, command)),
            "started": now(),
            "ended": None,
            "settings": settings,
            "versions": versions(),
            "skipped": [
                {"path": printable(each.path), "reason": printable(each.reason)} for each in gathered.skipped
            ],
            "warnings": list(map(printable, gathered.warnings)),
        }
        self._asked = {slide.name: dict(slide.facts) for slide in gathered.slides}
        self._slides: dict[str, dict[str, Any]] = {}
        self._next_s = 0.0

    @property
    def failed(self) -> int:
        """Slides that failed."""
        return sum(each["outcome"] == FAILED for each in self._slides.values())

    @property
    def done(self) -> int:
        """Slides with results, those found up to date among them."""
        return len(self._slides) - self.failed

    @property
    def has_failures(self) -> bool:
        """Whether `failures.csv` has a row of this run, of a slide or an export."""
        return any(each["failures"] for each in self._slides.values())

    def add(
        self, slide: BatchSlide, outcome: SlideReport | WsiNecrosisError, *, was_done: bool = False
    ) -> None:
        """Note what became of a slide; `was_done` where its results were up to date."""
        failed = isinstance(outcome, WsiNecrosisError)
        self._slides[slide.name] = {
            "path": slide.shown_path,
            "outcome": FAILED if isinstance(outcome, WsiNecrosisError) else outcome.status,
            "up_to_date": was_done,
            "results": None if failed else f"{SLIDES}/{slide.name}",
            "at": time.time(),
            "failures": [asdict(each) for each in failures_of(slide, outcome)],
        }

    def is_due(self) -> bool:
        """Whether it is time to write the record again."""
        return time.monotonic() >= self._next_s

    def write(self, state: str = RUNNING) -> None:
        """Write `runs/<id>.json`, `run.json` and `failures.csv`; the more slides, the less often it is due again.

        Raises
        ------
        StoreError
            They cannot be written.
        """
        began_s = time.monotonic()
        try:
            (self.out / RUNS).mkdir(parents=True, exist_ok=True)
            if state != RUNNING:
                for folder in (self.out, self.out / RUNS):
                    remove_leftovers(folder, older_than_s=LEFT_S)
        except OSError as error:
            raise StoreError(f"{self.out} cannot be written ({error.strerror}); check it") from error
        counts = Counter(each["outcome"] for each in self._slides.values())
        known = {name: counts[name] for name in ("scored", "not_evaluable", FAILED)}
        up_to_date = sum(each["up_to_date"] for each in self._slides.values())
        facts = {
            **self._facts,
            "state": state,
            "ended": None if state == RUNNING else now(),
            "counts": {"slides": self.total, **known, "up_to_date": up_to_date},
        }
        write_json(
            self.out / RUNS / f"{self.run_id}.json", {**facts, "asked": self._asked, "slides": self._slides}
        )
        write_json(self.out / RUN, facts)
        write_failures(self.out)
        took_s = time.monotonic() - began_s
        self._next_s = time.monotonic() + max(10.0, 20 * took_s)


def now() -> str:
    """Date and time, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_failures(out: Path) -> None:
    """Make `failures.csv` of the records of all runs: of each slide, what its last run says.

    A slide that was analysed since by `wsi-necrosis run` is left out.
    """
    latest: dict[str, Mapping[str, Any]] = {}
    for slides in _slides_of_runs(out):
        for name, facts in slides.items():
            if name not in latest or latest[name]["at"] <= facts["at"]:
                latest[name] = facts
    rows = [
        failure
        for name, facts in sorted(latest.items())
        for failure in facts["failures"]
        if not _analysed_since(out / SLIDES / name / RESULT, facts["at"])
    ]
    write_csv(out / FAILURES, rows, COLUMNS)


def _slides_of_runs(out: Path) -> Iterator[Mapping[str, Mapping[str, Any]]]:
    for path in sorted((out / RUNS).glob("*.json")):
        try:
            yield json.loads(path.read_text(encoding="utf-8"))["slides"]
        except (OSError, ValueError, KeyError, TypeError):  # of another version, or damaged: it has no say
            continue


def _analysed_since(result: Path, at: float) -> bool:
    try:
        return result.stat().st_mtime > at
    except OSError:
        return False
