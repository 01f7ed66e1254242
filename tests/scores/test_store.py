import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from wsi_necrosis.errors import StoreError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.scores.block_scores import BlockScores, CellState, empty_block
from wsi_necrosis.scores.store import ScoreStore
from wsi_necrosis.tiling.grid import Block, TileGrid

GRID = TileGrid(Box(0, 0, 500, 300), (2.0, 2.0), Mpp(1.0, 1.0), 32, 32, 3)
PLAN = {"inputs": {"slide": "abc"}, "features": ("mean", "energy")}


def mask_pixels() -> np.ndarray:
    px = np.zeros((*GRID.shape, 5), np.uint32)
    px[..., 0] = 64
    px[:4, :5] = (14, 50, 0, 0, 0)
    return px


def found(px: np.ndarray, seed: int, n_features: int = 2) -> BlockScores:
    rng = np.random.default_rng(seed)
    block = empty_block(px, n_features)
    tissue = px[..., 1] > 0
    block.prob[tissue] = rng.dirichlet(np.ones(3), int(tissue.sum()))
    block.uncertainty[tissue] = rng.random(int(tissue.sum()))
    block.ood[tissue] = rng.random(int(tissue.sum())) * 2
    block.state[tissue] = CellState.SCORED
    return block


def same(one: BlockScores, other: BlockScores) -> bool:
    names = one.__dataclass_fields__
    return all(np.array_equal(getattr(one, n), getattr(other, n), equal_nan=n != "px") for n in names)


def test_a_new_store_knows_cells_without_tissue(tmp_path: Path) -> None:
    px = mask_pixels()
    scores = ScoreStore.create(tmp_path, GRID, px, 1.6e-5, PLAN).read()
    assert (scores.state == np.where(px[..., 1] > 0, CellState.NOT_LOOKED, CellState.NO_TISSUE)).all()
    assert (scores.px == px).all()
    assert np.isnan(scores.prob).all()


def test_a_store_describes_itself(tmp_path: Path) -> None:
    ScoreStore.create(tmp_path, GRID, mask_pixels(), 1.6e-5, PLAN)
    store = ScoreStore(tmp_path)
    assert store.grid == GRID
    assert store.plan["inputs"] == PLAN["inputs"]
    assert store.plan["classes"] == ["non_tumour", "non_viable", "viable"]
    assert store.read().px_mm2 == 1.6e-5


def test_a_missing_or_foreign_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"scores\.zarr"):
        ScoreStore(tmp_path)
    ScoreStore.create(tmp_path, GRID, mask_pixels(), 1.6e-5, PLAN)
    path = tmp_path / "scores.zarr" / "zarr.json"
    for version in ("1", "2", '"3"'):
        path.write_text(path.read_text().replace('"store_version": 5', f'"store_version": {version}'))
        said = rf"scores\.zarr has store version {version}, this program reads 5; run with --overwrite"
        with pytest.raises(StoreError, match=said.replace('"', "'")):
            ScoreStore(tmp_path)
        path.write_text(path.read_text().replace(f'"store_version": {version}', '"store_version": 5'))
    ScoreStore(tmp_path)


def test_a_store_without_features_keeps_everything_else(tmp_path: Path) -> None:
    px = mask_pixels()
    store = ScoreStore.create(tmp_path, GRID, px, 1.6e-5, {**PLAN, "features": ()})
    block = next(GRID.blocks())
    written = found(px[block.cells], 1, n_features=0)
    store.write_block(block, written)
    again = ScoreStore(tmp_path)
    assert again.is_done(block)
    assert same(again.read_block(block), written)
    assert again.read_block(block).radiomics.shape == (3, 3, 0)
    np.testing.assert_array_equal(again.read().ood[block.cells], written.ood)


@pytest.mark.parametrize("damage", ["no chunk", "short chunk", "record", "no record", "list"])
def test_a_damaged_block_is_not_done(tmp_path: Path, damage: str) -> None:
    px = mask_pixels()
    store = ScoreStore.create(tmp_path, GRID, px, 1.6e-5, PLAN)
    block = next(GRID.blocks())
    store.write_block(block, found(px[block.cells], 1))
    assert store.is_done(block)
    record = tmp_path / "blocks" / "0.0.json"
    chunk = tmp_path / "scores.zarr" / "prob" / "c" / "0" / "0" / "0"
    if damage == "no chunk":
        chunk.unlink()
    elif damage == "short chunk":
        chunk.write_bytes(chunk.read_bytes()[:30])
    elif damage == "list":
        record.write_text("[]")
    elif damage == "record":
        record.write_text(record.read_text()[:20])
    else:
        record.unlink()
    assert not store.is_done(block)


def test_a_block_made_from_other_inputs_is_not_done(tmp_path: Path) -> None:
    """A worker may finish a block of a run that was given up, after its store was replaced."""
    px = mask_pixels()
    block = next(GRID.blocks())
    stores = []
    for threshold in (1, 2):
        plan = {**PLAN, "inputs": {"threshold": threshold}}
        stores.append(ScoreStore.create(tmp_path, GRID, px, 1.6e-5, plan))
    stores[0].write_block(block, found(px[block.cells], 1))
    assert stores[0].is_done(block)
    assert not stores[1].is_done(block)


def test_a_failed_block_is_not_done_and_may_be_scored_later(tmp_path: Path) -> None:
    px = mask_pixels()
    block = next(GRID.blocks())
    stores = [ScoreStore.create(tmp_path / name, GRID, px, 1.6e-5, PLAN) for name in ("one", "two")]
    for store in stores:
        store.write_block(block, found(px[block.cells], 1))
    stores[0].mark_failed(block, px[block.cells])
    tissue = px[block.cells][..., 1] > 0
    assert not stores[0].is_done(block)
    assert (stores[0].read().state[block.cells][tissue] == CellState.FAILED).all()
    assert np.isnan(stores[0].read_block(block).prob).all()
    stores[0].write_block(block, found(px[block.cells], 1))
    assert stores[0].is_done(block)
    one, two = (
        {
            path.relative_to(store.folder): path.read_bytes()
            for path in store.folder.rglob("*")
            if path.is_file()
        }
        for store in stores
    )
    assert one == two


class StoreMachine(RuleBasedStateMachine):
    """The store against a dictionary of blocks, through writes, reopening and lost records."""

    @initialize()
    def create(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.px = mask_pixels()
        self.store = ScoreStore.create(self.folder, GRID, self.px, 1.6e-5, PLAN)
        self.known: dict[Block, BlockScores] = {}

    @rule(index=st.integers(0, 10**6), seed=st.integers(0, 3))
    def write(self, index: int, seed: int) -> None:
        blocks = list(GRID.blocks())
        block = blocks[index % len(blocks)]
        self.known[block] = found(self.px[block.cells], seed)
        self.store.write_block(block, self.known[block])

    @rule()
    def reopen(self) -> None:
        self.store = ScoreStore(self.folder)

    @rule(index=st.integers(0, 10**6))
    def lose_record(self, index: int) -> None:
        if self.known:
            block = list(self.known)[index % len(self.known)]
            (self.folder / "blocks" / f"{block.name}.json").unlink()
            del self.known[block]

    @invariant()
    def done_blocks_are_the_known_ones(self) -> None:
        for block in GRID.blocks():
            assert self.store.is_done(block) == (block in self.known)
            if block in self.known:
                assert same(self.store.read_block(block), self.known[block])

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


TestStoreMachine = StoreMachine.TestCase

TestStoreMachine.settings = hypothesis_settings(max_examples=8, stateful_step_count=8, deadline=None)
