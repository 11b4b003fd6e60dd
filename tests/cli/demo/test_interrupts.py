"""Requests to end: heard once, and held back while something is started."""

import signal

import pytest

from offbeat.cli.demo.interrupts import end_in_order, undisturbed


@pytest.fixture(autouse=True)
def _handlers():
    """Put the handlers back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_ends_and_the_second_does_not_disturb_it(number):
    """The first request raises; those that come while it is dealt with are ignored."""
    end_in_order()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(number)


def test_held_back_until_the_block_is_over():
    """What is done in the block is done whole; then the request is heard."""
    end_in_order()
    done = []

    def start():
        with undisturbed():
            signal.raise_signal(signal.SIGTERM)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert done == ["whole"]


def test_nothing_held_back_is_nothing():
    """A block that nobody interrupts leaves the handlers as they were."""
    handler = signal.getsignal(signal.SIGINT)
    with undisturbed():
        pass
    assert signal.getsignal(signal.SIGINT) is handler
