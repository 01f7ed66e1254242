"""Changed model folders, settings, tables and annotations, and what a reader may give back of them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, -5, 1, 2, 10**9, 2**63, 10**400, 1e-300, 1e300, -1e300, 0.5, "", "a", "../../x", "/x",
    "nan", "1e5", "a\nb", "\x1b[31m", "x" * 3_000_000, [], {}, [[]], [1, 2], ["a"], {"a": 1}, [0.0] * 6, "\u202e",
)  # fmt: skip


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
