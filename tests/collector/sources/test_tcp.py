"""The TCP source, on real connections between real processes."""

import os
import socket
import time
from collections import defaultdict
from pathlib import Path

import pytest
from support import wait_until

from offbeat.collector.sockets import SocketOwners
from offbeat.collector.source import NoData
from offbeat.collector.sources.tcp import TcpSource

PEER = """
import os, socket, sys
family = socket.AF_INET6 if "IPV6" in os.environ else socket.AF_INET
server = socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family)
connections = {}
print(server.getsockname()[1], flush=True)
for line in sys.stdin:
    word, *rest = line.split()
    if word == "accept":
        connections["in"] = server.accept()[0]
    elif word == "connect":
        connections["out"] = socket.create_connection((server.getsockname()[0], int(rest[0])))
    elif word == "send":
        connections[rest[0]].sendall(b"x" * int(rest[1]))
    elif word == "receive":
        left = int(rest[1])
        while left:
            left -= len(connections[rest[0]].recv(min(left, 1 << 16)))
    elif word == "flood":
        connections[rest[0]].setblocking(False)
        try:
            while True: connections[rest[0]].send(b"x" * 65536)
        except BlockingIOError: pass
    print("done", flush=True)
"""


class Peer:
    """One process with a listening socket and at most two connections, obeying commands."""

    def __init__(self, process, **options):
        self.process = process(PEER, **options)
        self.port = int(self.process.stdout.readline())
        self.pid = self.process.pid

    def tell(self, line):
        """Send a command."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def done(self):
        """Wait until the last command is carried out."""
        assert self.process.stdout.readline() == "done\n"

    def do(self, line):
        """Have a command carried out."""
        self.tell(line)
        self.done()


@pytest.fixture
def pair(process):
    """Return two connected processes; the first made the connection."""
    first, second = Peer(process), Peer(process)
    second.tell("accept")
    first.do(f"connect {second.port}")
    second.done()
    return first, second


def source_of(*ranks):
    """Return a supported source of *ranks*."""
    source = TcpSource("node1", lambda: list(ranks), SocketOwners())
    assert source.is_supported()
    return source


def read(source):
    """Return metric → value of each connection, by (rank, source address, destination address)."""
    found = defaultdict(dict)
    for row in source.read()["edges"].to_pylist():
        assert (row["kind"], row["src_host"], row["job"], row["attempt"]) == ("tcp", "node1", "job-1", 3)
        found[row["src_rank"], row["src_addr"], row["dst_addr"]][row["metric"]] = row["value"]
    return dict(found)


def test_bytes_between_two_ranks(pair, rank_of):
    """Both ends of a connection are told, each by its own rank, and agree on addresses and bytes."""
    first, second = pair
    source = source_of(rank_of(first.pid, 0), rank_of(second.pid, 1))
    first.tell("send out 300000")
    second.do("receive in 300000")
    first.done()
    found = wait_until(lambda: (f := read(source)) and all(v["unacked"] == 0 for v in f.values()) and f)
    (sender,) = [key for key in found if key[0] == 0]
    (receiver,) = [key for key in found if key[0] == 1]
    assert sender[1] == receiver[2]
    assert sender[2] == receiver[1] == f"127.0.0.1:{second.port}"
    # The kernel counts the byte of the connection's start as acknowledged.
    assert found[sender]["bytes_acked"] in {300000, 300001}
    assert found[receiver]["bytes_received"] == 300000
    assert found[sender]["rtt_us"] > 0
    assert found[sender]["snd_cwnd"] > 0
    assert set(found[sender]) == {
        "rtt_us",
        "rttvar_us",
        "min_rtt_us",
        "total_retrans",
        "backoff",
        "busy_us",
        "rwnd_limited_us",
        "sndbuf_limited_us",
        "unacked",
        "notsent",
        "delivery_rate_bps",
        "bytes_acked",
        "bytes_received",
        "last_data_recv_ms",
        "rto_us",
        "snd_cwnd",
    }


@pytest.mark.skipif(not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists(), reason="needs IPv6")
def test_ipv6(process, rank_of):
    """Connections over IPv6 are told like those over IPv4, addresses in brackets."""
    environment = {**os.environ, "IPV6": "1"}
    first, second = Peer(process, env=environment), Peer(process, env=environment)
    second.tell("accept")
    first.do(f"connect {second.port}")
    second.done()
    first.do("send out 10")
    ((rank, source, target),) = read(source_of(rank_of(first.pid, 0)))
    assert (rank, source.rsplit(":", 1)[0], target) == (0, "[::1]", f"[::1]:{second.port}")


def test_idle_connection_is_silent(pair, rank_of):
    """A connection that carried nothing since the last sample is not told; the next byte brings it back."""
    first, second = pair
    source = source_of(rank_of(first.pid, 0))
    first.do("send out 10")
    second.do("receive in 10")
    assert len(read(source)) == 1
    with pytest.raises(NoData):
        wait_until(lambda: source.read() and None)
    first.do("send out 10")
    assert len(read(source)) == 1


def test_unacknowledged_bytes_are_told_again(pair, rank_of):
    """A connection whose bytes the other side does not take is told in every sample, with what waits in it."""
    first, _ = pair
    source = source_of(rank_of(first.pid, 0))
    first.do("flood out")
    for _ in range(3):
        (figures,) = read(source).values()
        assert figures["unacked"] + figures["notsent"] > 0


def test_only_sockets_of_ranks(pair, rank_of):
    """Connections of other processes on the machine are not told, though bytes flow in them."""
    first, second = pair
    source = source_of(rank_of(first.pid, 0))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as other:
        other.sendall(b"x" * 1000)
        first.do("send out 10")
        assert {key[0] for key in read(source)} == {0}
        second.do("send in 10")
        assert len(read(source)) == 1


def test_new_connection_is_found_at_once(process, rank_of):
    """A connection made after the open files were last looked at is told in the next sample."""
    first, second = Peer(process), Peer(process)
    source = source_of(rank_of(first.pid, 0))
    with pytest.raises(NoData):
        source.read()
    second.tell("accept")
    first.do(f"connect {second.port}")
    second.done()
    first.do("send out 10")
    assert len(read(source)) == 1


def test_store_connection_is_left_out(process, rank_of):
    """A connection to the port of the job's rendezvous store tells nothing about the job's network."""
    server = Peer(process)
    client = Peer(process, env={**os.environ, "MASTER_PORT": str(server.port)})
    server.tell("accept")
    client.do(f"connect {server.port}")
    server.done()
    client.do("send out 1000")
    with pytest.raises(NoData):
        source_of(rank_of(client.pid, 0)).read()


def test_no_ranks(rank_of):
    """Without ranks, or with only such as `/proc` does not show, there is no data."""
    with pytest.raises(NoData):
        source_of().read()
    with pytest.raises(NoData):
        source_of(rank_of(0, 0), rank_of(os.getpid(), -1)).read()


def test_sample_of_many_connections_is_cheap(process, rank_of):
    """A sample of a hundred connections takes a few milliseconds at most."""
    code = """
import socket
server = socket.create_server(("127.0.0.1", 0), backlog=200)
held = []
for _ in range(50):
    held.append(socket.create_connection(server.getsockname()))
    held.append(server.accept()[0])
    held[-1].sendall(b"x")
print("up", flush=True)
input()
"""
    child = process(code)
    assert child.stdout.readline() == "up\n"
    source = source_of(rank_of(child.pid, 0))
    assert len(read(source)) == 100
    best = float("inf")
    for _ in range(20):
        started = time.thread_time()
        with pytest.raises(NoData):
            source.read()
        best = min(best, time.thread_time() - started)
    assert best < 0.03


def test_addresses_that_the_job_uses(pair, rank_of):
    """Local addresses of the job's connections are known afterwards, but not loopback."""
    first, _ = pair
    source = source_of(rank_of(first.pid, 0))
    first.do("send out 1")
    source.read()
    assert source.addresses() == set()
