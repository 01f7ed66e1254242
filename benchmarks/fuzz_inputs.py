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
import math
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
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LIMIT_S, LIMIT_BYTES, LONGEST = 20, 2 << 30, 2000
KINDS = ("models", "settings", "labels")
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, -5, 1, 2, 10**9, 2**63, 10**400, 1e-300, 1e300, -1e300, 0.5, "", "a", "../../x", "/x",
    "nan", "1e5", "a\nb", "\x1b[31m", "x" * 3_000_000, [], {}, [[]], [1, 2], ["a"], {"a": 1}, [0.0] * 6, "\u202e",
)  # fmt: skip


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


def places(tree: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values in a tree of mappings and lists."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*here, key)
        yield from places(value, (*here, key))


def mutate_tree(tree: Any, rng: random.Random) -> Any:
    """Change one value, drop it, or rename its key; places near the top are as likely as those in long lists."""
    found = list(places(tree))
    depth = rng.choice(sorted({len(place) for place in found}))
    *above, key = rng.choice([place for place in found if len(place) == depth])
    parent = tree
    for step in above:
        parent = parent[step]
    action = rng.random()
    if action < 0.7:
        value = parent[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        parent[key] = (
            rng.choice([-value, value * 1e6, value + 0.5, str(value)])
            if number and action < 0.2
            else rng.choice(ODD)
        )
    elif action < 0.85:
        del parent[key]
    elif isinstance(parent, dict):
        parent[rng.choice(["unknown", str(key).upper(), ""])] = parent.pop(key)
    else:
        parent.append(parent[key])
    return tree


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat or insert bytes."""
    at = rng.randrange(max(1, len(data)))
    some = data[at : at + rng.randrange(1, 200)]
    return rng.choice(
        [
            data[:at],
            data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :] if data else b"",
            data[:at] + some * 3 + data[at:],
            data[:at]
            + rng.choice(
                [b"NaN", b"Infinity", b"\x00", b"\xff\xfe", b"[" * 5000, b"1e999", b'"', b"\n", b"{"]
            )
            + data[at:],
        ]
    )


def write_odd_file(path: Path, rng: random.Random) -> None:
    """Something that is no file of text."""
    path.unlink(missing_ok=True)
    which = rng.randrange(6)
    if which == 0:
        os.mkfifo(path)
    elif which == 1:
        path.symlink_to("/dev/zero")
    elif which == 2:
        path.write_text("[" * 100_000 + "]" * 100_000)
    elif which == 3:
        path.write_bytes(b"a" * 3_000_000)
    elif which == 4:
        path.mkdir()
    else:
        lines = ["a: &a0 [1, 1]"] + [f"b{at}: &a{at} [*a{at - 1}, *a{at - 1}]" for at in range(1, 40)]
        path.write_text("\n".join(lines))


def make_text(path: Path, tree: Any, dump: Callable[[Any], str], rng: random.Random) -> None:
    """A mutated file of a tree of values."""
    if rng.random() < 0.05:
        write_odd_file(path, rng)
        return
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.8 and list(places(tree)):
            tree = mutate_tree(tree, rng)
    data = dump(tree).encode("utf-8", "surrogatepass")
    if rng.random() < 0.2:
        data = mutate_bytes(data, rng)
    if rng.random() < 0.05:
        data = data.replace(b":", b": 1,\n", 1)
    path.write_bytes(data)


# --- models


def make_models(folder: Path, rng: random.Random) -> None:
    """A copy of the phantom's model with a changed description, or with changed files whose hashes fit."""
    from wsi_necrosis.model.spec import SHIPPED

    shutil.copytree(SHIPPED / "phantom", folder / "model")
    shipped = json.loads((SHIPPED / rng.choice(["phantom", "default"]) / "model.json").read_text())
    own = json.loads((folder / "model" / "model.json").read_text())
    if shipped["name"] != own["name"]:  # a longer description over the phantom's network
        own |= {
            key: shipped[key] for key in ("ood", "quantity", "quality", "metrics", "training", "trained_on")
        }
    if rng.random() < 0.15:
        import hashlib

        name = rng.choice(["model.safetensors", "network.xml", "network.bin"])
        data = mutate_bytes((folder / "model" / name).read_bytes(), rng)
        (folder / "model" / name).write_bytes(data)
        found = hashlib.sha256(data).hexdigest()
        if name == "model.safetensors":
            own["weights_sha256"] = found
        else:
            own["converted"]["sha256"][name] = found
        (folder / "model" / "model.json").write_text(json.dumps(own))
        return
    make_text(folder / "model" / "model.json", own, json.dumps, rng)


def read_models(folder: Path) -> None:
    from wsi_necrosis.pipelines.models import show, validate

    name = str(folder / "model")
    show([name])
    validate([name])


# --- settings


def make_settings(folder: Path, rng: random.Random) -> None:
    """A changed file of settings, of a run or of a training."""
    from wsi_necrosis.settings.loading import shipped_yaml

    kind = rng.choice(["default.yaml", "train.yaml"])
    (folder / "kind").write_text(kind)
    make_text(folder / "settings.yaml", shipped_yaml(kind), _as_yaml, rng)


def _as_yaml(tree: Any) -> str:
    return yaml.safe_dump(tree, allow_unicode=True)


def read_settings(folder: Path) -> None:
    from wsi_necrosis.settings.run import load_settings
    from wsi_necrosis.settings.train import load_train_settings

    path = folder / "settings.yaml"
    of_run = (folder / "kind").read_text() == "default.yaml"
    found = load_settings(config=path) if of_run else load_train_settings(path)
    require_finite(found.model_dump(mode="json"))
    again = type(found).model_validate(found.facts())
    if again != found:
        raise AssertionError("settings that were taken differ when they are read again")


# --- labels


def make_labels(folder: Path, rng: random.Random) -> None:
    """A changed table of tiles, manifest, table of pixel sizes, or GeoJSON file."""
    kind = rng.choice(["tiles.csv", "manifest.csv", "sizes.csv", "regions.geojson"])
    (folder / "kind").write_text(kind)
    if kind == "regions.geojson":
        make_text(folder / kind, _geojson(rng), json.dumps, rng)
        return
    rows = {
        "tiles.csv": [
            ["file", "case", "label", "slide", "x", "y", "mpp"],
            *([f"{at}.png", f"C{at}", "viable", "s", "3", "4", "0.5"] for at in range(5)),
        ],
        "manifest.csv": [
            ["path", "slide_id", "case", "role", "mpp_x", "mpp_y"],
            *([f"{at}.svs", f"s{at}", f"C{at}", "slab", "0.5", "0.5"] for at in range(5)),
        ],
        "sizes.csv": [["path", "mpp_x", "mpp_y"], *([f"{at}.svs", "0.5", "0.5"] for at in range(5))],
    }[kind]
    if rng.random() < 0.05:
        write_odd_file(folder / kind, rng)
        return
    for _ in range(rng.randint(1, 3)):
        row = rng.choice(rows)
        if row:
            row[rng.randrange(len(row))] = rng.choice(
                [
                    "",
                    "nan",
                    "inf",
                    "-1",
                    "1e400",
                    "0",
                    "a,b",
                    '"',
                    "x" * 200_000,
                    "../..",
                    "\x00",
                    "=1+1",
                    "0,5",
                    "\ufeff",
                ]
            )
        if rng.random() < 0.2:
            rng.choice(rows).append("more")
    text = rng.choice([",", ";", "\t"]).join
    data = "\n".join(text(row) for row in rows).encode()
    (folder / kind).write_bytes(mutate_bytes(data, rng) if rng.random() < 0.3 else data)


def _geojson(rng: random.Random) -> Any:
    def feature(at: int) -> dict[str, Any]:
        ring = [[at, 0.0], [at + 50.0, 0.0], [at + 50.0, 40.0], [at, 40.0], [at, 0.0]]
        kind = rng.choice(["Polygon", "MultiPolygon", "GeometryCollection"])
        polygon = {"type": "Polygon", "coordinates": [ring]}
        geometry = {
            "Polygon": polygon,
            "MultiPolygon": {"type": kind, "coordinates": [[ring]]},
            "GeometryCollection": {"type": kind, "geometries": [polygon]},
        }[kind]
        named = {
            "objectType": "annotation",
            "classification": {"name": rng.choice(["Tumor", "Necrosis", "Ignore*"])},
        }
        return {"type": "Feature", "geometry": geometry, "properties": named}

    features = [feature(at * 100) for at in range(4)]
    return rng.choice([{"type": "FeatureCollection", "features": features}, features, features[0]])


def read_labels(folder: Path) -> None:
    from wsi_necrosis.dataset.annotations import read_outlines, refuse_unknown_classes
    from wsi_necrosis.dataset.manifest import read_manifest, read_mpp_table
    from wsi_necrosis.dataset.tables import read_table

    kind = (folder / "kind").read_text()
    path = folder / kind
    if kind == "regions.geojson":
        outlines = read_outlines(path)
        refuse_unknown_classes({path: outlines})
        require_finite([list(outline.polygon.bounds) for outline in outlines])
        if any(outline.polygon.is_empty or not outline.polygon.is_valid for outline in outlines):
            raise AssertionError("an outline that was taken is empty or invalid")
        return
    found = {"tiles.csv": read_table, "manifest.csv": read_manifest, "sizes.csv": read_mpp_table}[kind](path)
    if kind == "manifest.csv":
        found, _ = found
    rows = list(found.values()) if isinstance(found, dict) else list(found)
    require_finite([value for row in rows for value in vars(row).values()])


def require_finite(tree: Any) -> None:
    """Refuse what no reader may give back: infinity and NaN."""
    for value in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(value, dict | list | tuple):
            require_finite(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise AssertionError(f"a value that was taken is {value}")


MAKE = {"models": make_models, "settings": make_settings, "labels": make_labels}
READ = {"models": read_models, "settings": read_settings, "labels": read_labels}


# --- one input in a child process


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
