"""Processor seconds of short commands, as pairs of two versions of this package.

python benchmarks/first_second.py BEFORE/bin AFTER/bin SLIDE [--repeats 5]

BEFORE and AFTER are the `bin` folders of two environments. Each command runs once unmeasured, so that caches are warm,
then alternately in both. SLIDE is analysed by the default model where OpenVINO is installed.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path


def seconds(command: list[str | Path], code: int, folder: Path) -> float:
    """User and system seconds of a command and all that it started; it has to end with this exit code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, cwd=folder, check=False, capture_output=True, env={**os.environ, "NO_COLOR": "1"}
    )
    if done.returncode != code:
        raise SystemExit(f"{command} ended with {done.returncode}: {done.stderr.decode()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    slide = str(arguments.slide.resolve())
    commands = {
        "--help": (0, ["--help"]),
        "run missing.svs": (1, ["run", "missing.svs"]),
        "run, up to date": (0, ["run", slide, "-o", "kept", "--quiet"]),
        "run": (0, ["run", slide, "-o", "new", "--quiet"]),
    }
    with tempfile.TemporaryDirectory() as scratch:
        places = {name: Path(scratch) / name for name in ("before", "after")}
        for place in places.values():
            place.mkdir()
        for title, (code, words) in commands.items():
            took: dict[str, list[float]] = {"before": [], "after": []}
            for repeat in range(arguments.repeats + 1):
                for name, place in places.items():
                    shutil.rmtree(place / "new", ignore_errors=True)
                    found = seconds(
                        [getattr(arguments, name).resolve() / "wsi-necrosis", *words], code, place
                    )
                    if repeat:
                        took[name].append(found)
            old, new = (statistics.median(took[name]) for name in ("before", "after"))
            print(f"{title:<18} {old:6.2f} s before, {new:6.2f} s after: {new / old:.2f}, {new - old:+.2f} s")


if __name__ == "__main__":
    main()
