"""SIGTERM and Ctrl-C, put off until the work is at a good place."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from vclip_cli.common.long_work import put_off


@pytest.fixture(autouse=True)
def heeding_ctrl_c() -> Iterator[None]:
    """A shell starts what runs in its background deaf to Ctrl-C, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_interruption_waits_and_the_second_does_not() -> None:
    with pytest.raises(KeyboardInterrupt), put_off() as pending:
        os.kill(os.getpid(), signal.SIGINT)
        assert pending.requested
    with pytest.raises(KeyboardInterrupt), put_off():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second Ctrl-C was put off as well")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
