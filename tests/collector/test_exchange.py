"""Asking other programs without waiting for them."""

import contextlib
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import wait_until

from offbeat.collector import exposition
from offbeat.collector.exchange import Address, Exchange, http_body, http_request


@pytest.fixture
def listener():
    """Return a socket that somebody can connect to."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def begin(listener, **options):
    """Return an exchange with *listener*, and the other end of its connection."""
    address = Address("127.0.0.1", listener.getsockname()[1])
    exchange = Exchange(address, b"hello", **{"seconds": 30} | options)
    peer, _ = listener.accept()
    return exchange, peer


def test_an_answer_in_pieces(listener):
    """The answer is whole when the other side closes, whatever pieces it came in."""
    exchange, peer = begin(listener)
    with peer:
        assert exchange.poll() is None
        assert peer.recv(100) == b"hello"
        peer.sendall(b"one ")
        assert exchange.poll() is None
        peer.sendall(b"two")
    assert wait_until(exchange.poll) == b"one two"


def test_an_answer_that_says_its_end(listener):
    """Where the end can be seen in the answer, nobody waits for the other side to close."""
    exchange, peer = begin(listener, complete=lambda answer: answer.endswith(b"\n"))
    with peer:
        peer.sendall(b"done\n")
        assert wait_until(exchange.poll) == b"done\n"


def test_one_that_does_not_answer(listener):
    """Polling never waits, and an exchange that takes too long is over."""
    exchange, peer = begin(listener, seconds=0.05)
    with peer:
        began = time.monotonic()
        assert exchange.poll() is None
        assert time.monotonic() - began < 1
        with pytest.raises(TimeoutError):
            wait_until(lambda: exchange.poll() is not None)


def test_one_that_says_too_much(listener):
    """An answer beyond the limit ends the exchange."""
    exchange, peer = begin(listener, limit=1000)
    with peer:
        peer.sendall(b"x" * 2000)
        with pytest.raises(OSError, match="more than 1000 bytes"):
            wait_until(lambda: exchange.poll() is not None)


def test_nobody_there(listener):
    """A port where nobody listens is an error, not a wait."""
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(OSError, match="refused"):
        wait_until(lambda: Exchange(Address("127.0.0.1", port), b"", seconds=5).poll() is not None)


def test_a_unix_socket(tmp_path):
    """A path is the address of a Unix socket; a missing one is an error."""
    path = str(tmp_path / "socket")
    with pytest.raises(OSError, match="ENOENT"):
        Exchange(Address.parse(path), b"", seconds=5)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        exchange = Exchange(Address.parse(path), b"hello", seconds=5)
        peer, _ = server.accept()
        assert exchange.poll() is None
        with peer:
            assert peer.recv(100) == b"hello"
            peer.sendall(b"there")
        assert wait_until(exchange.poll) == b"there"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9400", Address("127.0.0.1", 9400)),
        ("localhost:9", Address("127.0.0.1", 9)),
        ("localhost", Address("127.0.0.1", 28028)),
        ("::1", Address("::1", 28028)),
        ("[::1]:5", Address("::1", 5)),
        ("[::1]", Address("::1", 28028)),
        ("/run/x.sock", Address("/run/x.sock")),
    ],
)
def test_addresses(text, address):
    """Numeric addresses, localhost and paths can be asked."""
    assert Address.parse(text, 28028) == address


@pytest.mark.parametrize("text", ["", "example.org:80", "127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:x", "[x]:5"])
def test_other_addresses(text):
    """A name would have to be looked up, which can take seconds, and is refused."""
    with pytest.raises(ValueError):
        Address.parse(text, 1)


@given(st.text(max_size=30))
def test_any_address(text):
    """Whatever is given for an address is one or a ValueError."""
    with contextlib.suppress(ValueError):
        assert Address.parse(text, 5).host


def test_http():
    """The body of a good answer is returned, chunked or not; others are errors."""
    assert http_body(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi") == b"hi"
    assert http_body(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n") == b"hi"
    for bad in (b"", b"x", b"HTTP/1.0 500 Oh\r\n\r\n", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhi"):
        with pytest.raises(OSError):
            http_body(bad)
    with pytest.raises(ValueError):
        http_request("GET", "/a b", "host")
    with pytest.raises(ValueError):
        http_request("GET", "/a", "host\r\nX: y")


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=100).map(lambda b: b"HTTP/1.1 200 OK\r\n" + b)))
def test_any_http_answer(answer):
    """Whatever a server answers gives a body or an OSError."""
    with contextlib.suppress(OSError):
        http_body(answer)


@given(st.text(max_size=300))
def test_any_exposition(text):
    """Whatever an exporter says, only samples come out of it."""
    for name, labels, value in exposition.samples(text + "\n" + 'up{a="b\\"c"} 1' + text):
        assert name
        assert isinstance(labels, dict)
        assert isinstance(value, float)


def test_exposition():
    """Names, labels with escapes, values and times are told apart; what has no finite value is left out."""
    text = '# HELP x y\nx{a="1",b="q\\"\\\\n"} 2.5 1700000000000\ny NaN\nz 3\nbroken{ 1\n'
    assert list(exposition.samples(text)) == [("x", {"a": "1", "b": 'q"\\n'}, 2.5), ("z", {}, 3.0)]
