from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.regions import areas_mm2
from wsi_necrosis.export.foci import COLUMNS, write_foci_regions, write_foci_table
from wsi_necrosis.quantify.foci import foci_of


def test_table_and_regions_hold_the_same_foci_and_all_viable_tissue(
    made_up: Callable[..., Any], tmp_path: Path
) -> None:
    slide = made_up(seed=1)
    foci, mask = foci_of(slide.scores, slide.settings), slide.layers.mask
    write_foci_table(tmp_path / "foci.csv", foci, mask)
    write_foci_regions(tmp_path / "foci.geojson", foci, slide.heatmap, mask, "f")
    with (tmp_path / "foci.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, len(foci) + 1)]
    features = json.loads((tmp_path / "foci.geojson").read_text())["features"]
    viable = slide.score.ledger.area_mm2()["viable_by_class"]
    assert areas_mm2(features, slide.info.known_mpp)["viable_by_class"] == pytest.approx(viable, rel=1e-3)
    assert sum(float(row["area_mm2"]) for row in rows) == pytest.approx(viable, rel=1e-4)
    for feature in features[:5]:
        rank = int(feature["properties"]["measurements"]["Rank"])
        assert feature["properties"]["measurements"]["Area mm^2"] == foci[rank - 1].area_mm2
        outlined = areas_mm2([feature], slide.info.known_mpp)["viable_by_class"]
        assert outlined == pytest.approx(foci[rank - 1].area_mm2, rel=0.05)
        assert 0 <= float(rows[rank - 1]["look_x"]) <= mask.plane.width_l0
    assert len({feature["id"] for feature in features}) == len(features)


def test_a_slide_without_viable_tumour_has_empty_files(made_up: Callable[..., Any], tmp_path: Path) -> None:
    slide = made_up(seed=1)
    slide.heatmap.label[:] = 0
    write_foci_table(tmp_path / "foci.csv", (), slide.layers.mask)
    write_foci_regions(tmp_path / "foci.geojson", (), slide.heatmap, slide.layers.mask, "f")
    assert (tmp_path / "foci.csv").read_text(encoding="utf-8-sig") == ",".join(COLUMNS) + "\n"
    assert json.loads((tmp_path / "foci.geojson").read_text())["features"] == []
