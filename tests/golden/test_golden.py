"""Scores that must not move unless SCORE_VERSION is raised.

`python tests/golden/test_golden.py` writes the table anew, for a change that is meant to move them.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from wsi_necrosis.analysis import analyse
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.provenance import SCORE_VERSION
from wsi_necrosis.radiomics.extraction import extract
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.phantom import phantom_tiles, write_phantom
from wsi_necrosis.tiling.foreground import foreground

TABLE = Path(__file__).with_name("scores.json")
HINT = "scores moved: raise SCORE_VERSION, renew the table, and say so in CHANGELOG.md under Scores"


def phantom_areas() -> dict[str, float]:
    """Areas in mm2 of a small phantom by the phantom's model, soft and by class."""
    with tempfile.TemporaryDirectory() as scratch:
        slide = Path(scratch) / "golden.tiff"
        write_phantom(slide, np.random.default_rng(11), side_mm=2.0)
        chosen = ["model.name=phantom", "cluster.workers=1", "quantify.min_tumour_mm2=0.1"]
        settings = load_settings(overrides=[*chosen, "model.dtype=float32"])  # bfloat16 is not everywhere
        result = analyse(slide, Path(scratch) / "out", settings).result
    return {**result["ledger"]["mm2"], "percent_viable": result["percent_viable"]}


def default_scores() -> dict[str, list[float]]:
    """Probabilities and all features of painted tiles by the model that ships."""
    spec, rng = load_spec("default"), np.random.default_rng(12)
    names = ("viable", "non_viable", "non_tumour")
    tiles = np.concatenate([phantom_tiles(name, 1, spec.tile_px, rng) for name in names])
    features, _ = extract(tiles, foreground(tiles), spec.recipe, spec.mpp)
    prob = load_model("default").predict(tiles, features).prob
    return {name: [*prob[at].tolist(), *features[at].tolist()] for at, name in enumerate(names)}


@pytest.fixture(scope="module")
def golden() -> dict:
    return json.loads(TABLE.read_text())


def test_the_table_is_of_this_version(golden: dict) -> None:
    assert golden["score_version"] == SCORE_VERSION
    assert golden["default_sha256"] == load_spec("default").weights_sha256, HINT


def test_areas_of_the_phantom_stay(golden: dict) -> None:
    assert phantom_areas() == pytest.approx(golden["phantom_areas"], rel=1e-4, abs=1e-5), HINT


def test_scores_of_the_model_that_ships_stay(golden: dict) -> None:
    found = default_scores()
    for name, values in golden["default_scores"].items():
        assert found[name] == pytest.approx(values, rel=1e-4, abs=1e-5), HINT


def renew() -> None:
    facts = {
        "score_version": SCORE_VERSION,
        "default_sha256": load_spec("default").weights_sha256,
        "phantom_areas": phantom_areas(),
        "default_scores": default_scores(),
    }
    TABLE.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    renew()
