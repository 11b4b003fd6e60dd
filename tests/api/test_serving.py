"""Where the service listens."""

import socket

import pytest

from offbeat.api.service import is_loopback
from offbeat.api.serving import listen_tcp, listen_unix, url_of


def test_a_socket_left_by_a_killed_process_is_replaced(tmp_path):
    """A dead socket file is in nobody's way; a live one, or any other file, is left alone."""
    path = tmp_path / "o.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listen_unix(path), pytest.raises(OSError, match="another process") as refused:
        listen_unix(path)
    assert refused.value.filename == str(path)
    other = tmp_path / "precious"
    other.write_text("text")
    with pytest.raises(OSError, match="in use"):
        listen_unix(other)
    assert other.read_text() == "text"


def test_a_socket_in_no_directory_is_named(tmp_path):
    """The path is part of the error."""
    with pytest.raises(OSError, match="No such file") as refused:
        listen_unix(tmp_path / "none/o.sock")
    assert "o.sock" in refused.value.filename


@pytest.mark.parametrize(("host", "start"), [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:")])
def test_the_url_is_one_that_can_be_opened(host, start):
    """A wildcard address is told as loopback."""
    with listen_tcp(host, 0) as listener:
        assert url_of(listener).startswith(start)


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_loopback_is_known(host, alone):
    """Only loopback counts as this machine alone."""
    assert is_loopback(host) is alone
