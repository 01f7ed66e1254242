import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import WorkerPlugin
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.pools import blocks_of, fresh, local, started, stored, until_failure
from wsi_necrosis.inference.job import Job
from wsi_necrosis.inference.limit import Heard, Stopwatch
from wsi_necrosis.inference.pool import WorkerPool
from wsi_necrosis.inference.scorer import Scorer
from wsi_necrosis.scores.block_scores import CellState
from wsi_necrosis.scores.store import ScoreStore
from wsi_necrosis.slides import pyramid
from wsi_necrosis.tiling.grid import Block

# Which tasks exceed the limit ------------------------------------------------------------------------------------


def heard(at: float, running: str = "", waiting: str = "", *, has_nanny: bool = True) -> dict[str, Heard]:
    """One worker with tasks of one letter each."""
    return {"w": Heard(has_nanny, at, frozenset(running), frozenset(running + waiting))}


def keys(watch: Stopwatch, workers: dict[str, Heard], now_s: float) -> set[str]:
    return {each.key for each in watch.overdue(workers, "abc", now_s)}


def test_time_begins_when_a_block_runs_and_not_when_it_waits() -> None:
    watch = Stopwatch(limit_s=10)
    assert keys(watch, heard(0, "a", "b"), 0) == set()
    assert keys(watch, heard(9, "a", "b"), 9) == set()
    assert keys(watch, heard(11, "a", "b"), 11) == {"a"}
    assert keys(watch, heard(12, "b"), 12) == set()
    assert keys(watch, heard(22, "b"), 22) == set()
    assert keys(watch, heard(23, "b"), 23) == {"b"}


def test_a_block_that_is_begun_again_has_its_whole_time() -> None:
    watch = Stopwatch(limit_s=10)
    for at in (0, 8):
        assert keys(watch, heard(at, "a"), at) == set()
    elsewhere = {"v": heard(9, "a")["w"]}
    assert keys(watch, elsewhere, 9) == set()
    assert keys(watch, {"v": heard(19, "a")["w"]}, 19) == set()
    assert keys(watch, {"v": heard(20, "a")["w"]}, 20) == {"a"}


def test_a_worker_that_is_silent_may_run_all_that_it_holds() -> None:
    """Its decoder keeps it from saying so."""
    watch = Stopwatch(limit_s=10, unheard_s=5)
    assert keys(watch, heard(0), 0) == set()
    for now in range(1, 7):  # it was given two blocks, and nothing was heard since
        assert keys(watch, heard(0, "", "ab"), now) == set()
    assert keys(watch, heard(0, "", "ab"), 16) == set()
    assert keys(watch, heard(0, "", "ab"), 17) == {"a", "b"}


def test_a_worker_that_is_heard_again_was_not_stuck() -> None:
    watch = Stopwatch(limit_s=10, unheard_s=5)
    for now in range(12):
        assert keys(watch, heard(0, "", "ab"), now) == set()
    assert keys(watch, heard(12, "a", "b"), 12) == set()  # a ran all the time, as far as is known
    assert keys(watch, heard(17, "a", "b"), 17) == {"a"}


def test_tasks_of_others_and_workers_that_are_gone_are_nothing_to_us() -> None:
    watch = Stopwatch(limit_s=1)
    for now in range(5):
        assert keys(watch, heard(now, "xyz"), now) == set()
    assert keys(watch, heard(6, "a"), 6) == set()
    assert keys(watch, {}, 60) == set()
    assert keys(watch, heard(61, "a"), 61) == set()


@given(st.lists(st.tuples(st.integers(1, 4), st.sets(st.sampled_from("abc"))), min_size=1, max_size=30))
def test_exactly_what_ran_without_a_break_for_longer_than_the_limit(
    steps: list[tuple[int, set[str]]],
) -> None:
    watch, now, began = Stopwatch(limit_s=7), 0, dict[str, int]()
    for passed, running in steps:
        now += passed
        began = {key: began.get(key, now) for key in running}
        found = keys(watch, heard(now, "".join(running), "".join(set("abc") - running)), now)
        assert found == {key for key, start in began.items() if now - start > 7}


# Threads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What ends all that hangs, at the end of the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def hangs(monkeypatch: pytest.MonkeyPatch, released: threading.Event) -> set[str]:
    """Names of blocks whose scoring does not return; each try takes one away."""
    names: set[str] = set()
    score = Scorer.score
    monkeypatch.setattr(pyramid, "PATIENCE_S", 0.5)

    def hanging(self: Scorer, block: Block, *others: object) -> object:
        if block.name in names:
            names.remove(block.name)
            with self.slide._pyramid._reading():
                released.wait()
        return score(self, block, *others)

    monkeypatch.setattr(Scorer, "score", hanging)
    return names


def warm(pool: WorkerPool, job: Job, folder: Path) -> None:
    """Load the model, so that a limit of seconds counts the scoring alone."""
    first = fresh(job, folder / "warm")
    list(pool.score(first, blocks_of(first)[:2]))


def test_a_thread_that_hangs_costs_its_block_and_the_next_slide_gets_new_threads(
    job: Job, tmp_path: Path, hangs: set[str], released: threading.Event
) -> None:
    one, two = fresh(job, tmp_path / "one"), fresh(job, tmp_path / "two")
    blocks = blocks_of(one)
    failing, px = blocks[2]
    with started(local(workers=2)) as pool:
        warm(pool, job, tmp_path)
        pool.block_limit_s = 3.0
        hangs.add(failing.name)
        done, error = until_failure(pool, one, blocks)
        assert sorted([*done, failing.name]) == sorted(block.name for block, _ in blocks)
        assert (error.reason, hangs) == ("time_limit", set())  # one try: the next would cost one more thread
        for words in (
            str(job.slide),
            f"block {failing.name}: no end after 3 s",
            "--set cluster.processes=true",
        ):
            assert words in str(error)
        state = ScoreStore(one.folder).read_block(failing).state
        assert (state[px[..., 1] > 0] == CellState.FAILED).all()
        pool.block_limit_s = 60.0  # the model is loaded again
        list(pool.score(two, blocks_of(two)))
        assert sum(pool.threads().values()) == 2
        released.set()  # else the end of the pool waits for the thread for half a minute
    assert stored(two) == stored(job)


def test_a_slide_whose_last_thread_hangs_is_over(job: Job, tmp_path: Path, hangs: set[str]) -> None:
    elsewhere = fresh(job, tmp_path / "one")
    blocks = blocks_of(elsewhere)
    with started(local(workers=1)) as pool:
        warm(pool, job, tmp_path)
        pool.block_limit_s = 3.0
        hangs.add(blocks[2][0].name)
        done, error = until_failure(pool, elsewhere, blocks)
    assert done == [block.name for block, _ in blocks[:2]]
    assert f"and {len(blocks) - 3} were left" in str(error)


# Processes -------------------------------------------------------------------------------------------------------


def never_returning(name: str, *, keeps_lock: bool) -> WorkerPlugin:
    """A plugin with which the scoring of a block never ends; a local class is pickled by value."""

    class NeverReturning(WorkerPlugin):
        def setup(self, worker: object) -> None:
            from wsi_necrosis.inference.scorer import Scorer

            score = Scorer.score

            def hanging(self: Scorer, block: Block, *others: object) -> object:
                while block.name == name:
                    if keeps_lock:
                        re.match(r"(a+)+$", "a" * 100 + "b")
                    time.sleep(1000)
                return score(self, block, *others)

            Scorer.score = hanging

    return NeverReturning()


@pytest.mark.slow
@pytest.mark.parametrize("keeps_lock", [False, True])
def test_a_process_that_hangs_is_ended_and_its_block_has_failed_after_two_tries(
    job: Job, tmp_path: Path, keeps_lock: bool, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = fresh(job, tmp_path / "one")
    blocks = blocks_of(elsewhere)
    failing, px = blocks[1]
    with started(local(workers=2, processes=True, block_limit_s=20)) as pool:
        pool.client.register_plugin(never_returning(failing.name, keeps_lock=keeps_lock), name="hang")
        done, error = until_failure(pool, elsewhere, blocks)
        pool.client.wait_for_workers(2, timeout=60)  # its nanny starts another one
        assert sorted([*done, failing.name]) == sorted(block.name for block, _ in blocks)
        assert error.reason == "time_limit"
        assert [record.getMessage()[:30] for record in caplog.records if "is ended" in record.msg] == [
            "the process of tls://127.0.0.1"
        ] * 2
        pool.client.unregister_worker_plugin("hang")
    state = ScoreStore(elsewhere.folder).read_block(failing).state
    assert (state[px[..., 1] > 0] == CellState.FAILED).all()
    with started(local(workers=1)) as pool:
        list(pool.score(elsewhere, [blocks[1]]))
    assert np.array_equal(
        ScoreStore(elsewhere.folder).read().prob, ScoreStore(job.folder).read().prob, equal_nan=True
    )
