from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.small_checkpoint import SPEC, TENSORS
from wsi_necrosis.model.checkpoint import save_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "model", SPEC, TENSORS)
    return tmp_path / "model"
