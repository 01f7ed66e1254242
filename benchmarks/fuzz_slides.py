"""Mutated slides: what becomes of files that lie about themselves.

    python benchmarks/fuzz_slides.py [--slides 1000] [--batch 50] [--seed 1] [--also SLIDE ...] [--keep FOLDER]

Each slide is a small one of some format in which bytes of directories and headers were changed; `--also` names more
to change, of several files, too. A child process opens it, reads its overview and a region, and says what it found,
under limits of 20 s and 2 GB. Counted are:

- `refused`: an error of this package;
- `same`: the pixels of the file before;
- `warned`: other pixels, with a warning or unreadable parts;
- `coded`: other pixels where bytes of coded pixels alone were changed, of which formats keep no checksum;
- `other`: other pixels for another reason; each is to be looked at;
- `traceback`, `time`, `memory`, `abort`: faults, which make the exit code 1.

So many of `--batch` are then put into one folder and analysed by `wsi-necrosis batch`, which must end, with a result or
a reason for each slide, and no error that nobody expected.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from mutated_slides import in_coded_pixels, source_of, write_sources

SECONDS, BYTES = 20.0, 2 * 2**30
FAULTS = ("traceback", "time", "memory", "abort")
BATCH_S = 900.0  # in which a batch has to end


@dataclass(frozen=True)
class Outcome:
    """What became of one mutated slide, with the first words of its error."""

    kind: str
    said: str = ""
    seconds: float = 0.0


def look_at(path: Path) -> dict[str, Any]:
    """Open a slide and read what a run reads first: its overview, and a region at 1 um."""
    from wsi_necrosis.geometry import Box, Mpp
    from wsi_necrosis.slides.overview import read_overview
    from wsi_necrosis.slides.slide import open_slide
    from wsi_necrosis.tiling.tissue import find_tissue

    with open_slide(path) as slide:
        overview = read_overview(slide, 4.0)
        find_tissue(overview)
        region = slide.read(Box(200, 200, 256, 256), Mpp(1, 1))
        doubt = [each.code for each in slide.info.warnings]
        doubt += ["unreadable"] * bool(overview.unreadable.any() or region.unreadable)
        doubt += ["not_scanned"] * (overview.not_scanned is not None)
        return {
            "size": list(slide.info.size_l0),
            "mpp": str(slide.info.mpp),
            "mean": [float(overview.rgb.mean()), float(region.rgb.mean())],
            "sample": overview.rgb[::8, ::8].astype(int).tolist(),
            "doubt": doubt,
        }


def _child(pipe: Connection) -> None:
    """Look at slides, one after another, until the pipe is closed."""
    from wsi_necrosis.errors import WsiNecrosisError

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    look_at_first = pipe.recv()
    look_at(Path(look_at_first))  # imports count neither as time nor as memory
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, used + BYTES))
    pipe.send("ready")
    while True:
        try:
            path = pipe.recv()
        except EOFError:
            return
        try:
            found: tuple[str, Any] = "read", look_at(Path(path))
        except WsiNecrosisError as error:
            found = "refused", str(error)
        except MemoryError:
            found = "memory", traceback.format_exc()[-300:]
        except Exception:  # noqa: BLE001  (that nothing else comes is what is tried)
            found = "traceback", traceback.format_exc()[-600:]
        pipe.send(found)


class Looker:
    """A child process that looks at slides; one that is silent or dead is replaced."""

    def __init__(self, warm: Path) -> None:
        self._warm = warm
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_child, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.send(str(self._warm))
        self._pipe.recv()

    def look(self, path: Path) -> tuple[str, Any, float]:
        """What the child found, and in how many seconds."""
        begun = time.monotonic()
        self._pipe.send(str(path))
        try:
            if self._pipe.poll(SECONDS):
                kind, found = self._pipe.recv()
                return kind, found, time.monotonic() - begun
            kind, found = "time", f"no answer in {SECONDS:g} s"
        except (EOFError, OSError):
            self._process.join()
            kind, found = "abort", f"the process ended with code {self._process.exitcode}"
        self.close()
        self._start()
        return kind, found, time.monotonic() - begun

    def close(self) -> None:
        """End the child."""
        self._pipe.close()
        self._process.kill()
        self._process.join()


def judged(kind: str, found: Any, seconds: float, before: list[dict[str, Any]]) -> Outcome:
    """Compare what was read with what the files held before; they show one picture, with and without a second level."""
    if kind != "read":
        return Outcome(kind, str(found)[:600], seconds)
    if any(_same(found, each) for each in before):
        return Outcome("same", seconds=seconds)
    said = f"{found['size']} {found['mpp']} {found['mean']} {found['doubt']}"
    return Outcome("warned" if found["doubt"] else "other", said, seconds)


def _same(found: dict[str, Any], before: dict[str, Any]) -> bool:
    if (found["size"], found["mpp"]) != (before["size"], before["mpp"]):
        return False
    sample = np.array(found["sample"]) - np.array(before["sample"])
    return bool(np.abs(sample).max() <= 2 and np.allclose(found["mean"], before["mean"], atol=0.5))


def fuzz(
    folder: Path, slides: int, seed: int, keep: Path | None = None, also: Sequence[Path] = ()
) -> list[tuple[str, Outcome]]:
    """Mutate and look at so many slides; names and outcomes in order. Faults and other pixels are kept in `keep`."""
    sources = [*write_sources(folder / "sources"), *map(source_of, also)]
    looker = Looker(sources[0].folder / sources[0].named)
    try:
        before = [looker.look(each.folder / each.named)[1] for each in sources]
        found = []
        for at in range(slides):
            source = sources[at % len(sources)]
            to = folder / f"{at:05d}"
            path, changed = source.mutated(to, np.random.default_rng([seed, at]))
            outcome = judged(*looker.look(path), before)
            if outcome.kind == "other" and in_coded_pixels(source.folder / changed.relative_to(to), changed):
                outcome = replace(outcome, kind="coded")
            found.append((f"{at:05d}/{source.named}", outcome))
            if keep is not None and outcome.kind in {*FAULTS, "other"}:
                shutil.copytree(to, keep / to.name, dirs_exist_ok=True)
            shutil.rmtree(to)
    finally:
        looker.close()
    return found


def fuzz_batch(folder: Path, slides: int, seed: int, also: Sequence[Path] = ()) -> dict[str, Any]:
    """Analyse so many mutated slides in one batch; how it ended, and counts of what became of the slides."""
    sources = [*write_sources(folder / "sources"), *map(source_of, also)]
    for at in range(slides):
        sources[at % len(sources)].mutated(folder / "in" / f"{at:05d}", np.random.default_rng([seed, at, 1]))
    manifest = [f"in/{at:05d}/{sources[at % len(sources)].named},{at:05d}" for at in range(slides)]
    (folder / "slides.csv").write_text("\n".join(["path,slide_id", *manifest]))
    out = folder / "out"
    command = [
        sys.executable,
        "-m",
        "wsi_necrosis.pipelines.cli",
        "batch",
        str(folder / "slides.csv"),
        "-o",
        str(out),
    ]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, "--model", "phantom", "--workers", "2", "--set", "quantify.min_tumour_mm2=0.001"],
        capture_output=True,
        text=True,
        check=False,
        timeout=BATCH_S,
    )
    took = time.monotonic() - begun
    record = json.loads((out / "run.json").read_text())
    (report,) = (json.loads(path.read_text()) for path in (out / "runs").glob("*.json"))
    failures = [each for slide in report["slides"].values() for each in slide["failures"]]
    return {
        **record["counts"],
        "code": done.returncode,
        "state": record["state"],
        "without_outcome": slides - len(report["slides"]),
        "stages": dict(Counter(each["stage"] for each in failures)),
        "unexpected": [each for each in failures if each["error"] == "UnexpectedError"],
        "seconds": round(took, 1),
    }


def main() -> int:
    """Print what was not as it should be, then the counts."""
    options = argparse.ArgumentParser()
    options.add_argument("--slides", type=int, default=1000)
    options.add_argument("--batch", type=int, default=0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--keep", type=Path)
    options.add_argument("--also", type=Path, nargs="*", default=[])
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder), asked.slides, asked.seed, asked.keep, asked.also)
    for name, outcome in found:
        if outcome.kind in {*FAULTS, "other"}:
            sys.stdout.write(f"{name}: {outcome.kind}, {outcome.said}\n")
    counts = Counter(outcome.kind for _, outcome in found)
    slowest = max((outcome.seconds for _, outcome in found), default=0.0)
    sys.stdout.write(json.dumps({**counts, "slowest_s": round(slowest, 1)}) + "\n")
    faults = any(counts[kind] for kind in FAULTS)
    if asked.batch:
        with tempfile.TemporaryDirectory() as folder:
            ended = fuzz_batch(Path(folder), asked.batch, asked.seed, asked.also)
        sys.stdout.write(json.dumps(ended) + "\n")
        faults |= ended["state"] != "finished" or bool(ended["unexpected"] or ended["without_outcome"])
    return int(faults)


if __name__ == "__main__":
    sys.exit(main())
