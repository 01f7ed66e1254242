"""Mutate model folders, settings, tables and annotations, and read each in a process that may not misbehave.

python benchmarks/fuzz_inputs.py [--models 350] [--settings 350] [--labels 300] [--seed 1] [--workers 2] [--keep FOLDER]

A valid file is changed in one to three places: a value by one of another type or range, a key dropped, doubled or
renamed, bytes flipped, cut or repeated; some are replaced whole, by a pipe, /dev/zero, deep nesting or megabytes of one
letter. Each input is read by a child process with 2 GB of memory beyond what its libraries take and 20 s, which must
either take it or refuse it by an error raised on purpose, of one line and at most 2,000 characters. A model that is
taken must score painted tiles; settings that are taken must lie within the schema's ranges when they are written out
and read again; tables and annotations that are taken must hold finite numbers. Exit code 1 where anything differs, and
the inputs at fault are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutated_inputs import MAKE, READ

LIMIT_S, LIMIT_BYTES, LONGEST = 20, 2 << 30, 2000
KINDS = ("models", "settings", "labels")


@dataclass(frozen=True)
class Outcome:
    """What became of one input."""

    kind: str
    number: int
    what: str  # taken, refused, or a fault in words
    said: str = ""

    @property
    def is_fault(self) -> bool:
        return self.what not in {"taken", "refused"}


def set_limits(scratch: str) -> None:
    """Of a child process: its memory, and where what it prints and caches goes."""
    import wsi_necrosis.dataset.annotations
    import wsi_necrosis.pipelines.models  # so that the libraries do not count

    os.environ["WSI_NECROSIS_CACHE"] = str(Path(scratch) / f"cache-{os.getpid()}")
    validated = wsi_necrosis.pipelines.models.validate(["phantom"])
    if not validated.startswith("phantom: whole"):
        raise AssertionError(validated)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES, used + LIMIT_BYTES))


def read_one(kind: str, number: int, folder: str) -> Outcome:
    """Read one input, and say what became of it."""
    from wsi_necrosis.errors import WsiNecrosisError

    def too_long(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT_S)
    try:
        READ[kind](Path(folder))
    except WsiNecrosisError as error:
        said = str(error)
        fine = len(said) <= LONGEST and "\n" not in said and said.isprintable()
        return Outcome(
            kind, number, "refused" if fine else "a message that is long or of many lines", said[:300]
        )
    except TimeoutError:
        return Outcome(kind, number, f"more than {LIMIT_S} s")
    except BaseException:  # noqa: BLE001  (whatever else is raised is a fault)
        return Outcome(kind, number, "a traceback", traceback.format_exc()[-1500:])
    finally:
        signal.alarm(0)
    return Outcome(kind, number, "taken")


def make_one(kind: str, number: int, seed: int, scratch: Path) -> Path:
    """The folder of one input, which the seed and its number decide."""
    folder = scratch / f"{kind}-{number}"
    folder.mkdir()
    MAKE[kind](folder, random.Random(f"{seed} {kind} {number}"))  # noqa: S311  (nothing here is secret)
    return folder


def read_all(kind: str, folders: list[Path], workers: int, scratch: Path) -> Iterator[Outcome]:
    """Outcomes of all inputs of a kind; a process that dies is a fault of the input that it read."""
    context = multiprocessing.get_context("spawn")
    waiting = list(enumerate(folders))
    size = workers
    while waiting:
        with ProcessPoolExecutor(size, context, set_limits, (str(scratch),)) as pool:
            futures = [
                (number, folder, pool.submit(read_one, kind, number, str(folder)))
                for number, folder in waiting
            ]
            waiting = []
            for number, folder, future in futures:
                try:
                    yield future.result()
                except BrokenProcessPool:
                    if size == 1 and not waiting:
                        yield Outcome(kind, number, "the process died")
                    else:
                        waiting.append((number, folder))
        size = 1


def main() -> int:
    """Make, read and count."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for kind, count in zip(KINDS, (350, 350, 300), strict=True):
        options.add_argument(f"--{kind}", type=int, default=count)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--keep", type=Path, help="Where inputs at fault are copied to.")
    asked = options.parse_args()
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    with tempfile.TemporaryDirectory() as temporary:
        for kind in KINDS:
            folders = [make_one(kind, at, asked.seed, Path(temporary)) for at in range(getattr(asked, kind))]
            for outcome in read_all(kind, folders, asked.workers, Path(temporary)):
                counts[kind][outcome.what] += 1
                if outcome.is_fault:
                    print(f"{kind} {outcome.number}: {outcome.what}: {outcome.said}", file=sys.stderr)
                    if asked.keep:
                        with contextlib.suppress(OSError, shutil.Error):
                            shutil.copytree(
                                folders[outcome.number],
                                asked.keep / f"{kind}-{outcome.number}",
                                symlinks=True,
                                dirs_exist_ok=True,
                            )
    print(json.dumps(counts, indent=1))
    return int(any(set(found) - {"taken", "refused"} for found in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
