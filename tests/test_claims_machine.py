"""Any order of claims, crashes, silences, blocks and publishing, against a model that holds it all in memory."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wsi_necrosis.claims import Claim, Lease, _acquired, slot_of, unfinished
from wsi_necrosis.errors import ClaimLostError, StoreError

LEASE = Lease(heartbeat_s=1000, silence_s=1000)  # silence is made, never waited for
WORKERS, BLOCKS = st.integers(0, 2), st.integers(0, 3)


class ClaimMachine(RuleBasedStateMachine):
    """Three workers on one result. The model: who owns, who believes it, which blocks are done, what is published."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="wsi-necrosis-claims-"))
        self.target = self.folder / "a.svs"
        self.believers: dict[int, Claim] = {}
        self.owner: int | None = None
        self.gone = False  # the owner is silent, or has ended
        self.blocks: dict[int, str] | None = None  # None where no work was begun
        self.published: dict[int, str] | None = None
        self.written = 0

    def teardown(self) -> None:
        for claim in self.believers.values():
            claim.end()
        shutil.rmtree(self.folder)

    @rule(worker=WORKERS)
    def claim(self, worker: int) -> None:
        if worker in self.believers:
            return
        claim = _acquired(self.target, LEASE)
        assert (claim is None) == (self.owner is not None and not self.gone)
        if claim is not None:
            self.believers[worker], self.owner, self.gone = claim, worker, False

    @precondition(lambda self: self.owner is not None)
    @rule()
    def fall_silent(self) -> None:
        for alive in slot_of(self.target).glob("*/alive.*"):
            os.utime(alive, (0, 0))
        self.gone = True

    @rule(worker=WORKERS)
    def crash(self, worker: int) -> None:
        """The process ends without a word; its heartbeats stop."""
        claim = self.believers.pop(worker, None)
        if claim is None:
            return
        claim._ended.set()
        if worker == self.owner:
            self.fall_silent()

    @rule(worker=WORKERS, block=BLOCKS)
    def write_block(self, worker: int, block: int) -> None:
        """Only the owner's blocks arrive, also where a former owner still believes in its claim."""
        if worker not in self.believers:
            return
        folder = self.believers[worker].folder
        self.written += 1
        if worker != self.owner:
            with suppress(FileNotFoundError):  # unless it made its folder anew
                (folder / str(block)).write_text("late")
            return
        folder.mkdir(exist_ok=True)
        (folder / str(block)).write_text(str(self.written))
        self.blocks = {**(self.blocks or {}), block: str(self.written)}

    @rule(worker=WORKERS)
    def write_as_zarr_does(self, worker: int) -> None:
        """A former owner makes its folder anew, which nobody must take for a claim."""
        if worker in self.believers and worker != self.owner:
            (self.believers[worker].folder / "c").mkdir(parents=True, exist_ok=True)

    @rule(worker=WORKERS, replace=st.booleans())
    def publish(self, worker: int, replace: bool) -> None:
        claim = self.believers.get(worker)
        if claim is None:
            return
        if worker != self.owner:
            with pytest.raises(ClaimLostError):
                claim.publish(replace=replace)
        elif self.blocks is None:
            return
        elif self.published and not replace:
            with pytest.raises(StoreError, match="another result"):
                claim.publish()
            return
        else:
            claim.publish(replace=replace)
            self.published, self.blocks = self.blocks, None
        self.end(worker)

    @rule(worker=WORKERS)
    def take_back(self, worker: int) -> None:
        if worker in self.believers and worker == self.owner and self.published:
            self.believers[worker].take_back()
            self.blocks, self.published = self.published, None

    @rule(worker=WORKERS)
    def end(self, worker: int) -> None:
        """Give up in order; unfinished work stays, and is free."""
        claim = self.believers.pop(worker, None)
        if claim is None:
            return
        claim.end()
        if worker == self.owner:
            self.gone = True
            if self.blocks is None:
                self.owner, self.gone = None, False

    @invariant()
    def disk_is_as_the_model_says(self) -> None:
        assert read(self.target) == self.published
        assert read(unfinished(self.target)) == self.blocks

    @invariant()
    def believers_learn_the_truth(self) -> None:
        for worker, claim in self.believers.items():
            if worker == self.owner:
                claim.require()
            else:
                with pytest.raises(ClaimLostError):
                    claim.require()


def read(folder: Path | None) -> dict[int, str] | None:
    if folder is None or not folder.is_dir():
        return None
    return {int(path.name): path.read_text() for path in folder.iterdir()}


TestClaims = ClaimMachine.TestCase
TestClaims.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
