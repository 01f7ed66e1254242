"""Provenance of a result: versions of packages, digests of inputs, and where inputs differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from typing import Any

VERSION = package_version("wsi-necrosis")
RESULT_VERSION = 7  # schema of result.json
SCORE_VERSION = 8  # raised by hand whenever the same slide and model would get other scores
NUMERIC_PACKAGES = (
    "wsi-necrosis", "numpy", "scikit-image", "scipy", "numba",
    "openslide-python", "openslide-bin", "pillow",
)  # fmt: skip
NUMERIC_EXTRAS = ("openvino", "torch", "timm", "pyradiomics-bhklab")


def versions() -> dict[str, str]:
    """Versions of this package and of those that its numbers depend on."""
    return versions_of((*NUMERIC_PACKAGES, *NUMERIC_EXTRAS))


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = _version(name)
    return found


@cache
def _version(name: str) -> str:
    """Version of a package as it was first asked for: reading it takes milliseconds, and slides ask for each twice."""
    return package_version(name)


def digest(facts: Any) -> str:
    """SHA-256 of JSON-ready facts, as 32 hexadecimal digits; the order of keys does not matter."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Where two nested mappings differ, as `dotted.key: old -> new`."""
    found: list[str] = []
    for key in sorted({*old, *new}):
        before, after, name = old.get(key), new.get(key), f"{prefix}{key}"
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{name}.")
        elif before != after:
            found.append(f"{name}: {before} -> {after}")
    return found
