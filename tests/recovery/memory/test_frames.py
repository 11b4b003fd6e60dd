"""The wire: bounded, proven, and useless to whoever does not hold the key."""

import contextlib
import os
import socket
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offbeat.recovery.memory.calls import RemoteError, answer, call
from offbeat.recovery.memory.frames import Channel, ClosedError, FrameError
from offbeat.recovery.memory.handshake import call_in, generation_key, let_in
from offbeat.recovery.memory.job import StaleError

KEY = generation_key(b"secret", "job", 3)


@pytest.fixture
def pair():
    """Give two connected sockets."""
    one, other = socket.socketpair()
    one.settimeout(10)
    other.settimeout(10)
    with one, other:
        yield one, other


def in_thread(function, *arguments):
    """Run *function* beside the test; the list gets its result or its error."""
    result = []

    def run():
        try:
            result.append(function(*arguments))
        except Exception as error:  # noqa: BLE001 - handed to the test
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, result


def secured(pair, key=KEY, other_key=KEY):
    """Shake hands over two sockets; return what came of it on both sides."""
    thread, server = in_thread(lambda: let_in(pair[1], lambda *_: other_key, timeout=10))
    try:
        client = call_in(pair[0], key, "job", 3, timeout=10)
    except (FrameError, OSError) as error:
        client = error
        pair[0].close()
    thread.join(10)
    return client, server[0]


@given(st.dictionaries(st.text(max_size=5), st.integers()), st.binary(max_size=300_000), st.booleans())
@settings(deadline=None, max_examples=30)
def test_messages_arrive_whole(head, payload, proven):
    """Head and payload arrive as they were sent, larger than any socket buffer or empty."""
    one, other = socket.socketpair()
    with one, other:
        sender, receiver = Channel(one), Channel(other)
        if proven:
            sender.secure(b"k" * 32, b"r" * 32)
            receiver.secure(b"r" * 32, b"k" * 32)
        thread, _ = in_thread(sender.send, head, payload)
        target = np.empty(len(payload) + 5, np.uint8)
        found, body = receiver.receive(target)
        thread.join()
        assert found == head
        assert body.tobytes() == payload
        assert np.shares_memory(body, target) or not payload


def test_two_holders_of_the_key_can_speak(pair):
    """After the handshake calls, payloads and errors pass in both directions."""
    client, (server, job, generation) = secured(pair)
    assert (job, generation) == ("job", 3)

    def handler(x):
        if x == 3:
            raise StaleError("old")
        if x == 4:
            raise RuntimeError("broken")
        return {"twice": 2 * x}, b"abc"

    failures = []
    thread, _ = in_thread(answer, server, {"double": handler}, lambda name, error: failures.append((name, str(error))))
    head, body = call(client, "double", x=2)
    assert (head, body.tobytes()) == ({"twice": 4}, b"abc")
    with pytest.raises(StaleError, match="old"):
        call(client, "double", x=3)
    with pytest.raises(RemoteError, match="broken"):
        call(client, "double", x=4)
    with pytest.raises(ValueError, match="no such call"):
        call(client, "other")
    with pytest.raises(ValueError, match="unexpected keyword"):
        call(client, "double", y=1)
    client.close()
    thread.join(10)
    assert not thread.is_alive()
    assert [name for name, _ in failures] == ["double", "double"]


@pytest.mark.parametrize("other", [generation_key(b"secret", "job", 2), generation_key(b"other", "job", 3)])
def test_another_key_is_turned_away_on_both_sides(pair, other):
    """The key of another generation or secret opens nothing."""
    client, server = secured(pair, key=other)
    assert isinstance(client, FrameError)
    assert isinstance(server, FrameError)


def test_a_client_that_skips_its_proof_is_turned_away(pair):
    """A server that proved itself still wants the client's proof."""
    thread, server = in_thread(lambda: let_in(pair[1], lambda *_: KEY, timeout=10))
    channel = Channel(pair[0])
    channel.send({"job": "job", "generation": 3, "nonce": os.urandom(32).hex()})
    answered, _ = channel.receive()
    channel.send({"proof": answered["proof"]})  # the server's own proof sent back
    thread.join(10)
    assert isinstance(server[0], FrameError)


@pytest.mark.parametrize("part", [0, 5, 20, 60])
def test_a_changed_or_repeated_message_is_refused(pair, part):
    """One flipped byte in lengths, head, payload or code, or the same message again, ends the connection."""
    client, (server, *_) = secured(pair)
    one, two = socket.socketpair()
    tap = Channel(one)
    tap.secure(client._send_key, client._receive_key)
    tap.send({"call": "a"}, b"p" * 20)
    one.close()
    with two:
        message = bytearray(two.recv(65536))
    pair[0].sendall(message)
    assert server.receive()[0] == {"call": "a"}
    if part:
        message[part] ^= 1
    pair[0].sendall(message)
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(FrameError):
        server.receive()


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_noise_is_an_error(noise):
    """Whatever arrives in place of a message is a FrameError, and never asks for much memory."""
    one, other = socket.socketpair()
    with one, other:
        one.sendall(noise)
        one.close()
        with contextlib.suppress(FrameError):
            Channel(other, max_head=64, max_payload=16).receive()


def test_lengths_are_bounded_before_anything_is_allocated(pair):
    """A message that announces gigabytes is refused at once, and none such is sent."""
    pair[0].sendall(b"\xff\xff\xff\xff\xff\xff\xff\xff")
    with pytest.raises(FrameError, match="bytes"):
        Channel(pair[1]).receive()
    with pytest.raises(ValueError, match="bytes"):
        Channel(pair[0], max_payload=3).send({}, b"1234")


def test_a_closed_connection_is_told_from_a_broken_rule(pair):
    """The other side's going away has an error of its own."""
    pair[0].close()
    with pytest.raises(ClosedError):
        Channel(pair[1]).receive()


def test_unknown_generations_are_refused_with_a_reason(pair):
    """The reason reaches the one who asked."""

    def key_of(job, generation):
        raise LookupError(f"{job} has no generation {generation}")

    thread, _ = in_thread(lambda: let_in(pair[1], key_of, timeout=10))
    with pytest.raises(FrameError, match="turned away: job has no generation 3"):
        call_in(pair[0], KEY, "job", 3, timeout=10)
    thread.join(10)
