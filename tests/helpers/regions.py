"""Areas of `regions.geojson`, as QuPath measures them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import shapely

from wsi_necrosis.geometry import Mpp

TERMS = {
    "Tumor": "viable_by_class",
    "Necrosis": "non_viable_by_class",
    "Stroma": "non_tumour_by_class",
    "Ignore*": "abstained",
    "Region*": "unreadable",
}


def areas_mm2(features: Iterable[Mapping[str, Any]], level0: Mpp) -> dict[str, float]:
    """Area within the outlines by the ledger's term."""
    found = dict.fromkeys(TERMS.values(), 0.0)
    for feature in features:
        shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        assert shape.is_valid
        found[TERMS[feature["properties"]["classification"]["name"]]] += shape.area * level0.px_mm2
    return found


def areas_of(folder: Path, result: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Areas within the outlines of a slide's folder, and the same terms of its ledger."""
    slide = result["provenance"]["slide"]
    features = json.loads((folder / "regions.geojson").read_text(encoding="utf-8"))["features"]
    ledger = {term: result["ledger"]["mm2"][term] for term in TERMS.values()}
    return areas_mm2(features, Mpp(slide["mpp_x"], slide["mpp_y"])), ledger
