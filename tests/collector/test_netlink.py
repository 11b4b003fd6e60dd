"""Netlink messages: what a kernel sends is read, what no kernel sends does no harm."""

import socket
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector import netlink
from offbeat.collector.netlink import NetlinkError
from offbeat.collector.sockdiag import INFO, parse

FIELDS = {name: st.integers(0, 2 ** (8 * INFO[name].itemsize) - 1) for name in INFO.names}


def attribute(kind, value):
    """Pack one attribute."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def message(family, local, remote, inode, user, attributes=b""):
    """Pack one inet_diag message, as linux/inet_diag.h lays it out."""
    raw = [socket.inet_pton(family, address).ljust(16, b"\0") for address, _ in (local, remote)]
    head = struct.pack("!BBBBHH16s16s", family, 1, 0, 0, local[1], remote[1], *raw)
    return head + struct.pack("=III", 0, 0, 0) + struct.pack("=IIIII", 0, 0, 0, user, inode) + attributes


@given(kinds=st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=60)), max_size=8))
def test_messages_come_back(kinds):
    """Messages of any length follow one another, aligned to four bytes."""
    buffer = b""
    for kind, payload in kinds:
        buffer += struct.pack("=IHHII", 16 + len(payload), kind, 0, 1, 0) + payload + b"\0" * (-len(payload) % 4)
    assert [(kind, buffer[a:b]) for kind, a, b in netlink.messages(buffer)] == kinds


@given(buffer=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(buffer):
    """Arbitrary bytes give messages inside the buffer, or a NetlinkError."""
    try:
        found = list(netlink.messages(buffer))
    except NetlinkError:
        return
    assert all(16 <= a <= b <= len(buffer) for _, a, b in found)


@given(buffer=st.binary(max_size=200), start=st.integers(0, 50))
def test_any_attributes_are_read(buffer, start):
    """Arbitrary bytes give attributes inside their bounds, and come to an end."""
    found = list(netlink.attributes(buffer, start, len(buffer)))
    assert all(start <= a <= b <= len(buffer) for _, a, b in found)


@given(values=st.fixed_dictionaries(FIELDS), size=st.integers(0, 300), junk=st.binary(max_size=40))
def test_figures_of_a_connection(values, size, junk):
    """Each figure is read from its own place, whether this kernel's structure is shorter or longer than ours."""
    full = bytearray(300)
    for name, value in values.items():
        kind, offset = INFO.fields[name]
        full[offset : offset + kind.itemsize] = value.to_bytes(kind.itemsize, "little")
    data = message(
        socket.AF_INET,
        ("198.18.0.10", 4567),
        ("198.18.0.11", 29500),
        77,
        1000,
        attribute(9, junk) + attribute(2, bytes(full[:size])),
    )
    found = parse(b"????" + data, 4, 4 + len(data), lambda inode, user: (inode, user) == (77, 1000))
    assert (found.inode, found.local, found.remote) == (77, ("198.18.0.10", 4567), ("198.18.0.11", 29500))
    row = np.frombuffer(found.info, INFO)[0]
    for name, value in values.items():
        kind, offset = INFO.fields[name]
        if offset + kind.itemsize <= size:
            assert row[name] == value
        elif offset >= size:
            assert row[name] == 0


@given(data=st.binary(max_size=400))
def test_any_payload_is_harmless(data):
    """Arbitrary bytes in place of a message give a connection or none, never an error."""
    parse(data, 0, len(data), lambda _inode, _user: True)


def test_what_is_not_wanted_is_not_read():
    """A socket without owner, or of somebody else, is passed over."""
    data = message(socket.AF_INET, ("10.0.0.1", 1), ("10.0.0.2", 2), 0, 0, attribute(2, b"\0" * 192))
    assert parse(data, 0, len(data), lambda _inode, _user: True) is None
    data = message(socket.AF_INET, ("10.0.0.1", 1), ("10.0.0.2", 2), 5, 0, attribute(2, b"\0" * 192))
    assert parse(data, 0, len(data), lambda _inode, _user: False) is None
    assert parse(data[:-200], 0, len(data) - 200, lambda _inode, _user: True) is None


@pytest.mark.parametrize(("address", "text"), [("fd00::2", "fd00::2"), ("::ffff:192.0.2.1", "192.0.2.1")])
def test_ipv6(address, text):
    """IPv6 addresses are told as such, those of IPv4 inside IPv6 as IPv4: the other side names them so."""
    data = message(socket.AF_INET6, (address, 1), (address, 2), 5, 0, attribute(2, b"\0" * 192))
    assert parse(data, 0, len(data), lambda _inode, _user: True).local == (text, 1)


def test_dump_after_one_given_up():
    """A dump that was left in the middle does not disturb the next."""
    link = netlink.Netlink(netlink.ROUTE)
    body = struct.pack("=BBBBI", 0, 0, 0, 0, 0)
    for _ in range(3):
        next(link.dump(22, body))
    assert len(list(link.dump(22, body))) == len(list(link.dump(22, body))) > 0
    link.close()


def test_kernel_refuses():
    """A request that the kernel refuses is an error with its reason."""
    link = netlink.Netlink(netlink.SOCK_DIAG)
    with pytest.raises(NetlinkError, match="netlink request of type 20: Invalid argument"):
        list(link.dump(20, b"\0"))
    link.close()
