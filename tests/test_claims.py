"""Claims: one owner at a time, takeover of the dead and the silent, and publishing by one rename."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from wsi_necrosis.claims import Lease, claimed, claimed_by, slot_of, unfinished
from wsi_necrosis.errors import ClaimedError, ClaimLostError, StoreError
from wsi_necrosis.files import write_text

SHORT = Lease(heartbeat_s=0.05, silence_s=0.5)
LONG = Lease(heartbeat_s=20, silence_s=180)
PROCESSES, ROUNDS = 4, 40
HOLDER = """
import sys, time
from pathlib import Path
from wsi_necrosis.claims import Lease, claimed
with claimed(Path(sys.argv[1]), Lease(0.05, float(sys.argv[2]))) as claim:
    claim.folder.mkdir()
    (claim.folder / "block").write_text("done")
    print("ready", flush=True)
    time.sleep(60)
"""
CONTENDER = """
import os, sys
from pathlib import Path
from wsi_necrosis.claims import claimed
target, held, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for _ in range(rounds):
    with claimed(target, wait=True):
        os.close(os.open(held, os.O_CREAT | os.O_EXCL))  # fails where another one is inside
        os.unlink(held)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def started_holder(target: Path, silence_s: float) -> subprocess.Popen[str]:
    process = start(HOLDER, target, silence_s)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_work_is_published_as_a_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = tmp_path / "a.svs"
    with claimed(target) as claim:
        claim.folder.mkdir()
        (claim.folder / "x").write_text("1")
        assert not target.exists()
        claim.publish()
    assert (target / "x").read_text() == "1"
    assert left(tmp_path) == ["a.svs"]
    assert unfinished(target) is None


def test_a_claim_without_work_leaves_nothing(tmp_path: Path) -> None:
    with claimed(tmp_path / "deep" / "a.svs"):
        assert left(tmp_path / "deep") == [".a.svs.work"]
    assert left(tmp_path / "deep") == []


def test_a_second_claim_is_refused_and_names_the_owner(tmp_path: Path) -> None:
    target = tmp_path / "a.svs"
    said = rf"another run works on .*a\.svs \(process {os.getpid()} on "
    with claimed(target), pytest.raises(ClaimedError, match=said), claimed(target):
        pytest.fail("two owners")
    assert claimed_by(target, LONG) is None


def begun(target: Path) -> Path:
    """The unfinished work that an owner left who failed."""
    with claimed(target, LONG) as claim:
        claim.folder.mkdir()
        (claim.folder / "block").write_text("done")
    kept = unfinished(target)
    assert kept is not None
    return kept


def test_unfinished_work_waits_for_the_next_owner_who_need_not_wait(tmp_path: Path) -> None:
    target = tmp_path / "a.svs"
    kept = begun(target)
    assert (kept / "block").read_text() == "done"
    with claimed(target, LONG) as claim:
        assert (claim.folder / "block").read_text() == "done"
        assert not kept.exists()
        claim.publish()
    assert left(tmp_path) == ["a.svs"]


def test_what_is_published_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.svs"
    begun(target)
    target.mkdir()
    (target / "x").write_text("theirs")
    with claimed(target) as claim, pytest.raises(StoreError, match="holds another result by now"):
        claim.publish()
    assert (target / "x").read_text() == "theirs"


def test_a_result_is_replaced_only_on_request_and_taken_back_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.svs"
    target.mkdir()
    (target / "x").write_text("old")
    with claimed(target) as claim:
        claim.folder.mkdir()
        (claim.folder / "x").write_text("new")
        claim.publish(replace=True)
        assert (claim.replaced() / "x").read_text() == "old"
    assert (target / "x").read_text() == "new"
    with claimed(target) as claim:
        claim.take_back()
        assert not target.exists()
        (claim.folder / "y").write_text("more")
        claim.publish()
    assert left(target) == ["x", "y"]
    assert left(tmp_path) == ["a.svs"]


def test_a_killed_owner_is_replaced_at_once(tmp_path: Path) -> None:
    target = tmp_path / "a.svs"
    with started_holder(target, silence_s=1000) as process:
        with pytest.raises(ClaimedError), claimed(target, LONG):
            pytest.fail("two owners")
        process.kill()
        process.wait(timeout=10)
    with claimed(target, LONG) as claim:
        assert (claim.folder / "block").read_text() == "done"


def test_an_owner_of_another_machine_is_replaced_after_its_silence(tmp_path: Path) -> None:
    target = tmp_path / "a.svs"
    with started_holder(target, silence_s=1000) as process:
        process.kill()
        process.wait(timeout=10)
    (own,) = slot_of(target).iterdir()
    (alive,) = own.glob("alive.*")
    alive.write_text(json.dumps({**json.loads(alive.read_text()), "machine": "other", "host": "other"}))
    with pytest.raises(ClaimedError, match="on other"), claimed(target, SHORT):
        pytest.fail("its last heartbeat is new")
    time.sleep(2 * SHORT.silence_s)
    with claimed(target, SHORT) as claim:
        assert (claim.folder / "block").read_text() == "done"


def test_a_stopped_owner_that_wakes_has_lost_and_changes_nothing(tmp_path: Path) -> None:
    """The first owner misses its heartbeats; a second one takes over, and publishes."""
    target = tmp_path / "a.svs"
    begun(target)
    said = r"over after 180 s of silence; its result stands"
    with ExitStack() as stack:
        first = stack.enter_context(claimed(target, LONG))
        os.utime(next(first.folder.parent.glob("alive.*")), (0, 0))
        with claimed(target, LONG) as second:
            with pytest.raises(StoreError, match="cannot be written"):
                write_text(first.folder / "block", "late")
            for way in (first.publish, first.require):
                with pytest.raises(ClaimLostError, match=said):
                    way()
            second.publish()
        with pytest.raises(ClaimLostError, match=said):
            first.publish(replace=True)
        (first.folder / "deep").mkdir(parents=True)  # as zarr would
    assert (target / "block").read_text() == "done"
    assert unfinished(target) is None
    with claimed(target, LONG) as third:
        assert not third.folder.exists()
    assert left(tmp_path) == ["a.svs"]


def write_late(target: Path) -> None:
    """Work on after the claim was lost, which fails with an error of the system."""
    with claimed(target, LONG) as claim:
        (own,) = slot_of(target).iterdir()
        own.rename(own.with_name("other"))
        (claim.folder / "block").write_text("late")


def test_what_fails_because_the_claim_is_lost_says_so(tmp_path: Path) -> None:
    with pytest.raises(ClaimLostError, match="another process took"):
        write_late(tmp_path / "a.svs")


def test_heartbeats_keep_a_claim(tmp_path: Path) -> None:
    target = tmp_path / "a.svs"
    with started_holder(target, silence_s=0.5) as process:
        time.sleep(3 * SHORT.silence_s)
        assert claimed_by(target, SHORT) is not None
        process.send_signal(signal.SIGSTOP)
        time.sleep(2 * SHORT.silence_s)
        with claimed(target, SHORT) as claim:
            claim.publish()
        process.send_signal(signal.SIGCONT)
        process.kill()
    assert (target / "block").read_text() == "done"


def test_owners_never_overlap(tmp_path: Path) -> None:
    """Several processes claim one name again and again; each puts down a file that may not exist yet."""
    target, held = tmp_path / "a.svs", tmp_path / "held"
    contenders = [start(CONTENDER, target, held, ROUNDS) for _ in range(PROCESSES)]
    for process in contenders:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert left(tmp_path) == []


def test_of_several_takers_one_gets_the_work(tmp_path: Path) -> None:
    target = tmp_path / "a.svs"
    code = HOLDER.replace("claim.folder.mkdir()", "assert (claim.folder / 'block').exists()")
    with started_holder(target, silence_s=1000) as first:
        first.kill()
    takers = [start(code, target, 1000) for _ in range(PROCESSES)]
    refused = 0
    while refused < PROCESSES - 1:
        refused = sum(process.poll() == 1 for process in takers)
        time.sleep(0.02)
    (winner,) = [process for process in takers if process.poll() is None]
    for process in takers:
        if process is winner:
            process.kill()
        assert process is winner or "ClaimedError" in process.communicate(timeout=10)[1]
        process.communicate()


def test_a_claim_that_a_full_disk_cut_short_counts_by_its_age(tmp_path: Path) -> None:
    target = tmp_path / "a.svs"
    own = slot_of(target) / "token"
    own.mkdir(parents=True)
    (own / "alive.token").write_text("{")
    with pytest.raises(ClaimedError), claimed(target, LONG):
        pytest.fail("it is new")
    os.utime(own / "alive.token", (0, 0))
    with claimed(target, LONG):
        pass
    assert left(tmp_path) == []


def test_what_a_process_left_that_was_killed_while_it_claimed_is_deleted_in_time(tmp_path: Path) -> None:
    left_behind = [tmp_path / f".a.svs.work.{token}.partial" for token in ("old", "new")]
    for folder in (*left_behind, tmp_path / ".b.svs.work.old.partial"):
        folder.mkdir()
    os.utime(left_behind[0], (0, 0))
    with claimed(tmp_path / "a.svs", LONG):
        pass
    assert left(tmp_path) == [".a.svs.work.new.partial", ".b.svs.work.old.partial"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another with -o"), claimed(tmp_path / "file" / "a.svs"):
        pytest.fail("there is a file in the way")
