import signal

import pytest

from wsi_necrosis.errors import InterruptedRunError
from wsi_necrosis.pipelines.console.signals import interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_become_an_error_that_says_how_to_resume(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with pytest.raises(InterruptedRunError, match=rf"{number.name}.*resumes"), interruptible():
        signal.raise_signal(number)
    assert signal.getsignal(number) == signal.SIG_IGN  # a second one does not break the ending
    for each, handler in before.items():
        signal.signal(each, handler)


def test_handlers_come_back_when_nothing_happened() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
