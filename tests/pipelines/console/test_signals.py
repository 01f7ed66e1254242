"""In processes of their own: a signal that went astray would end the test process with all its tests."""

import signal
import subprocess
import sys

import pytest

from wsi_necrosis.pipelines.console.signals import interruptible

CODE = """
import signal
from wsi_necrosis.errors import InterruptedRunError
from wsi_necrosis.pipelines.console.signals import interruptible

try:
    with interruptible():
        signal.raise_signal({number})
except InterruptedRunError as error:
    signal.raise_signal({number})  # a second one does not break the ending
    print(error)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_become_an_error_that_says_how_to_resume(number: signal.Signals) -> None:
    code = CODE.format(number=int(number))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = f"stopped by {number.name}; finished blocks are kept, the same command resumes\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_handlers_come_back_when_nothing_happened() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
