"""SIGTERM and Ctrl-C, put off until the work is at a good place."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from vclip_cli.common.long_work import INTERRUPTED, TERMINATED, delay_interruption, exit_code


@pytest.fixture(autouse=True)
def ctrl_c_raises() -> Iterator[None]:
    """Programs in a shell's background ignore SIGINT, and their children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_interruption_waits_and_the_second_does_not() -> None:
    with pytest.raises(KeyboardInterrupt), delay_interruption() as pending:
        os.kill(os.getpid(), signal.SIGINT)
        assert pending.requested
    with pytest.raises(KeyboardInterrupt), delay_interruption():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second Ctrl-C was put off as well")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)]
)
def test_the_exit_code_says_which_signal_came(number: signal.Signals, code: int) -> None:
    with pytest.raises(KeyboardInterrupt), delay_interruption():
        os.kill(os.getpid(), number)
    assert exit_code() == code
