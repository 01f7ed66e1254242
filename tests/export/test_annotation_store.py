from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsi_necrosis.errors import MissingExtraError
from wsi_necrosis.export import annotation_store
from wsi_necrosis.export.annotation_store import require_tiatoolbox, store_at, write_annotation_store
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.scores.labels import cell_class


def test_tiatoolbox_reads_every_cell_in_the_frame_of_level_0(
    made_up: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("tiatoolbox", reason="tiatoolbox is an extra")
    slide = made_up()
    for name in ("one.db", "other.db"):
        write_annotation_store(tmp_path / name, slide.scores, slide.settings, "f")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.db", "other.db"]
    label = cell_class(slide.scores, slide.settings)
    store = store_at(tmp_path / "one.db")
    try:
        found = list(store.values())
    finally:
        store.close()
    assert len(found) == np.count_nonzero(label)
    row, col = np.argwhere(label > 0)[0]
    first, plane, (width, height) = found[0], slide.scores.grid.plane, slide.scores.grid.cell_l0
    assert first.geometry.bounds[:2] == (plane.x_l0 + col * width, plane.y_l0 + row * height)
    assert first.properties["type"] == PALETTE[label[row, col]].title
    assert {"prob_ViableTumor", "uncertainty"} <= {
        *next(a for a in found if "ood" in a.properties).properties
    }


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotation_store, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wsi-necrosis\[tiatoolbox\]'"):
        require_tiatoolbox()
