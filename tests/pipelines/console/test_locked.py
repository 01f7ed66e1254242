import subprocess
import sys

import pytest

CODE = """
import re, time
from wsi_necrosis.pipelines.console.locked import ending_when_locked

with ending_when_locked({limit_s}):
    {what}
print("went on")
"""


def ran(what: str, limit_s: float) -> subprocess.CompletedProcess[str]:
    code = CODE.format(what=what, limit_s=limit_s)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("what", ["time.sleep(3)", "[sum(range(1000)) for _ in range(100000)]"])
def test_a_command_that_lets_other_threads_run_goes_on(what: str) -> None:
    ended = ran(what, 2.0)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "went on\n", "")


def test_a_thread_that_keeps_the_lock_ends_the_command_and_is_named() -> None:
    ended = ran("re.match(r'(a+)+$', 'a' * 100 + 'b')", 1.0)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Timeout (0:00:01)!" in ended.stderr
    assert "in match" in ended.stderr


def test_no_limit_ends_nothing() -> None:
    assert ran("time.sleep(0.1)", 0).stdout == "went on\n"
