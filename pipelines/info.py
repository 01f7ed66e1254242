"""`wsi-necrosis info`: describe a slide."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wsi_necrosis.geometry import Mpp
from wsi_necrosis.slides.fingerprint import slide_fingerprint
from wsi_necrosis.slides.info import SlideInfo
from wsi_necrosis.slides.slide import open_slide


def info(slide: Path, mpp: Mpp | None, scene: str | None = None, *, as_json: bool = False) -> str:
    """Metadata of a slide as text or JSON, also without a pixel size.

    Raises
    ------
    SlideError
        The slide cannot be opened.
    """
    with open_slide(slide, mpp, scene=scene) as opened:
        facts = describe(opened.info)
    if as_json:
        return json.dumps(facts, indent=2)
    lines = [(name, _text(value)) for name, value in facts.items() if name != "warnings"]
    lines += [("warning", each["text"]) for each in facts["warnings"]]
    return "\n".join(f"{name:>12}  {text}" for name, text in lines)


def describe(facts: SlideInfo) -> dict[str, Any]:
    """The metadata that `info` prints, JSON-ready; sizes are (width, height)."""
    mpp = facts.mpp
    width, height = facts.size_l0
    return {
        "path": str(facts.path),
        "files": len(facts.files),
        "vendor": facts.vendor,
        "reader": facts.reader,
        "size": [width, height],
        "size_mm": [round(width * mpp.x / 1e3, 3), round(height * mpp.y / 1e3, 3)] if mpp else None,
        "levels": [
            f"{w} x {h} (1/{d:.4g})" for (w, h), d in zip(facts.levels, facts.downsamples, strict=True)
        ],
        "mpp": [mpp.x, mpp.y] if mpp else None,
        "mpp_source": facts.mpp_source,
        "objective": facts.objective,
        "bounds": list(facts.bounds_l0),
        "scene": facts.scene,
        "scenes": list(facts.scenes),
        "icc_profile": facts.icc_profile,
        "fingerprint": slide_fingerprint(facts.files),
        "warnings": [asdict(each) for each in facts.warnings],
    }


def _text(value: Any) -> str:
    if isinstance(value, list) and not value:
        return "none"
    if isinstance(value, list):
        return (" x " if all(isinstance(item, int | float) for item in value) else ", ").join(map(str, value))
    return "unknown" if value is None else str(value)
