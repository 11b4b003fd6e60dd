"""Several hosts: any m of a group may be lost with their memory, and every rank's state comes back bit for bit."""

import contextlib
import itertools
import json
import socket
import threading

import pytest
from keeper_cluster import CHUNK, Cluster, content

from offbeat.recovery.memory import epochs, handshake
from offbeat.recovery.memory.calls import RemoteError, call
from offbeat.recovery.memory.director import UndecidedError
from offbeat.recovery.memory.epoch import DATA, PARITY, Epoch
from offbeat.recovery.memory.frames import FrameError
from offbeat.recovery.memory.job import AbsentError, StaleError
from offbeat.recovery.memory.pace import Pace
from offbeat.recovery.memory.peers import Peers
from offbeat.recovery.memory.roster import RosterError, parse, read
from offbeat.recovery.memory.sums import Sums


@pytest.fixture
def cluster(memory):
    """Give a function that starts a cluster whose leaders act only when told to."""
    running = []

    def start(*arguments, **settings):
        found = Cluster(memory, *arguments, **settings)
        running.append(found)
        for keeper in found.keepers.values():
            keeper.sealed = lambda _: None
        return found

    yield start
    for found in running:
        found.close()


@pytest.mark.parametrize(
    ("hosts", "k", "m", "each", "lost"),
    [(2, 1, 1, 1, 1), (3, 2, 1, 1, 1), (4, 2, 2, 2, 2), (5, 2, 2, 1, 2), (6, 4, 2, 1, 2), (7, 3, 3, 1, 3)],
)
def test_lost_hosts_are_rebuilt_on_spares(cluster, hosts, k, m, each, lost):
    """After the loss of m hosts at once all ranks, also those of the lost hosts, have their state, and parity too."""
    found = cluster(hosts, k, m, each)
    assert found.begin() == (None, "")
    assert found.seal(4) == list(range(found.world))
    assert found.advance() == (found.generation, 4)
    for number, host in enumerate([f"h{h}" for h in range(hosts)][-lost:]):
        found.lose(host, f"spare{number}")
    before = found.generation
    epoch, missing = found.begin()
    assert (epoch, missing) == ((before, 4), "")
    found.check(epoch)
    for host in [f"h{h}" for h in range(lost)]:  # the others, now that the spares hold parity again
        found.lose(host, f"second-{host}")
    assert found.begin() == ((before, 4), "")
    found.check(epoch)


def test_every_pair_of_four_hosts_may_be_lost(cluster):
    """2+2: for each of the six pairs the inventory of the other two says that all can be restored."""
    found = cluster(4, 2, 2)
    found.begin()
    found.seal(1)
    found.advance()
    hosts = found.keepers[found.home(0)].network.hosts("job")
    fields = {"job": "job", "generation": found.generation}
    leader = found.keepers["h0"].network.leader("job")
    inventory = leader._inventory("job", found.generation, verified=True)
    manifests = leader._manifests("job", found.generation, inventory)
    assert sorted(hosts.names()) == sorted(inventory)
    assert len(manifests) == 1
    for count in (1, 2, 3):
        for lost in itertools.combinations(inventory, count):
            left = {host: seals for host, seals in inventory.items() if host not in lost}
            assert epochs.judge(Epoch(found.generation, 1), left, manifests).restorable == (count < 3)
    assert hosts.call("h1", "inventory", **fields)[0]["committed"] == [found.generation, 1]


def test_too_many_losses_are_explained_and_the_job_begins_anew(cluster):
    """With 2+1, two lost hosts are one too many: the answer names their ranks, and no slot stays blocked."""
    found = cluster(3, 2, 1, slots=2)
    found.begin()
    for step in (1, 2):
        found.seal(step)
        found.advance()
    before = found.generation
    for number, host in enumerate(("h1", "h2")):
        found.lose(host, f"spare{number}")
    epoch, missing = found.begin()
    assert epoch is None
    assert f"step 2 of generation {before}: rank 1: 1 of 2+1 shards are left where 2 are needed; rank 2" in missing
    assert found.seal(0) == [0, 1, 2]
    assert found.advance() == (found.generation, 0)


def test_an_uncoded_newer_step_is_used_while_all_hosts_live(cluster):
    """Local snapshots are more frequent than coded ones: the newest common step counts after a mere restart."""
    found = cluster(4, 2, 2)
    found.begin()
    found.seal(1)
    found.advance()
    found.seal(2)
    found.seal(3, ranks=[0, 1])  # the others were killed before
    before = found.generation
    epoch, missing = found.begin()
    assert epoch == (before, 2)
    assert f"step 3 of generation {before}: rank 2" in missing
    found.check(epoch)


def test_with_a_lost_host_the_coded_step_counts(cluster):
    """The newer step that was never coded is gone with the host, and the answer says so."""
    found = cluster(4, 2, 2)
    found.begin()
    found.seal(1)
    found.advance()
    found.seal(2)
    before = found.generation
    found.lose("h3", "spare")
    epoch, missing = found.begin()
    assert epoch == (before, 1)
    assert "rank 3 was on a host that is gone, and was not coded" in missing
    found.check(epoch)


def test_damage_is_repaired_from_the_group(cluster):
    """A flipped bit is found before anything is served, and the image is rebuilt from the others."""
    found = cluster(4, 2, 2)
    found.begin()
    found.seal(1)
    epoch = found.advance()
    room, _ = found.keepers["h1"].vault.job("job").find(DATA, 1, epoch)
    room.slot.data[CHUNK + 7] ^= 16
    with pytest.raises(AbsentError, match=r"chunk 1 of . is damaged"):
        found.clients["h1"].call("state", job="job", rank=1, epoch=epoch)
    assert found.begin() == (tuple(epoch), "")
    found.check(epoch)


def test_a_damaged_chunk_is_never_coded(cluster):
    """A source that no longer fits its checksum stops the coding; the epoch is not committed, the older one stays."""
    found = cluster(4, 2, 2)
    found.begin()
    found.seal(1)
    first = found.advance()
    found.seal(2)
    room, _ = found.keepers["h2"].vault.job("job").find(DATA, 2, Epoch(found.generation, 2))
    room.slot.data[3] ^= 1
    with pytest.raises(UndecidedError, match="damaged"):
        found.advance()
    for keeper in found.keepers.values():
        state = keeper.vault.job("job").state
        assert (state.committed, state.protected) == (first, {first})


def test_a_superseded_leader_can_do_nothing(cluster):
    """A leader that was partitioned and comes back with its old generation is refused by every host."""
    found = cluster(2, 1, 1)
    found.begin()
    old = found.generation
    found.seal(1)
    found.advance()
    found.begin()
    leader = found.keepers["h0"].network.leader("job")
    with pytest.raises(StaleError):
        leader.advance("job", old)
    peers = found.keepers["h0"].network.hosts("job")
    for name, fields in (("protect", {"epoch": [old, 1]}), ("clear", {}), ("commit", {"epoch": [old, 1]})):
        with pytest.raises(StaleError, match="superseded"):
            peers.call("h1", name, job="job", generation=old, **fields)


def test_a_commit_that_one_host_missed_is_repeated(cluster, monkeypatch):
    """With two slots the host that never heard of the commit would be stuck; it is told again, and goes on."""
    found = cluster(3, 2, 1, slots=2)
    found.begin()
    found.seal(1)
    found.advance()
    found.seal(2)
    group = found.keepers["h0"].network.hosts("job")
    real = group.call

    def call(host, name, into=None, /, **fields):
        if (host, name) == ("h1", "commit"):
            raise ConnectionError("cut")
        return real(host, name, into, **fields)

    monkeypatch.setattr(group, "call", call)
    with pytest.raises(UndecidedError, match="keeper of h1: commit: cut"):
        found.advance()
    assert 1 not in found.seal(3)
    monkeypatch.setattr(group, "call", real)
    assert found.advance() is None
    assert 1 in found.seal(4, ranks=[1])
    found.seal(4, ranks=[0, 2])
    assert found.advance() == (found.generation, 4)


def test_a_new_start_does_not_wait_for_an_old_coding(cluster, monkeypatch):
    """Coding that is under way when the job starts again is given up at the next chunk."""
    found = cluster(2, 1, 1)
    found.begin()
    found.seal(1)
    first = found.advance()
    found.seal(2)
    going, over = threading.Event(), threading.Event()
    real = Sums._own

    def own(*arguments):
        going.set()
        assert over.wait(30)
        return real(*arguments)

    monkeypatch.setattr(Sums, "_own", own)
    old, failed = found.generation, []

    def advance():
        try:
            found.keepers["h0"].network.leader("job").advance("job", old)
        except (UndecidedError, StaleError) as error:
            failed.append(error)

    thread = threading.Thread(target=advance)
    thread.start()
    assert going.wait(30)
    threading.Timer(0.2, over.set).start()
    assert found.begin()[0] == (old, 2)  # sealed by all, though it was not coded in time
    thread.join(30)
    assert failed
    assert found.keepers["h0"].vault.job("job").state.committed == (old, 2)
    assert first == (old, 1)


def test_a_host_that_does_not_answer_stops_the_decision(cluster):
    """Unreachable is not lost: while a host of the roster does not answer, nothing is decided, and it is named."""
    found = cluster(3, 2, 1)
    found.begin()
    found.seal(1)
    epoch = found.advance()
    found.stop("h2")
    with pytest.raises(UndecidedError, match="keeper of h2"):
        found.begin()
    with pytest.raises(UndecidedError, match="keeper of h2"):
        found.advance()
    found.start("h2")
    assert found.begin()[0] == tuple(epoch)
    found.check(epoch)


def test_another_number_of_ranks_is_refused(cluster):
    """A job that starts with other ranks than the roster has is told so."""
    found = cluster(2, 1, 1)
    with pytest.raises(ValueError, match="rank 0 of 3 ranks"):
        found.clients["h0"].call("begin", job="job", world=3)
    with pytest.raises(ValueError, match="does not have rank 0"):
        found.clients["h1"].call("begin", job="job", world=2)


def test_strangers_are_turned_away(cluster):
    """Without the secret nothing can be asked; with it, only for the job and generation that were named."""
    found = cluster(2, 1, 1)
    found.begin()
    port = found.ports["h1"]

    def connect(secret):
        connection = socket.create_connection(("127.0.0.1", port))
        key = handshake.generation_key(secret, "job", found.generation)
        return handshake.call_in(connection, key, "job", found.generation, timeout=5)

    with pytest.raises(FrameError):
        connect(b"another secret!!")
    channel = connect(b"0123456789abcdef")
    assert call(channel, "generation", job="job")[0]["generation"] == found.generation
    with pytest.raises(PermissionError, match="this connection is for"):
        call(channel, "inventory", job="other", generation=found.generation)
    with pytest.raises(PermissionError, match="this connection is for"):
        call(channel, "inventory", job="job", generation=found.generation + 5)
    huge = {"epoch": [1, 1], "length": 1 << 40, "hops": [["h1", 1, 0, 1, 0]]}
    with pytest.raises((ValueError, RemoteError)):
        call(channel, "sum", job="job", generation=found.generation, **huge)
    with pytest.raises(ValueError, match="no such call"):
        call(channel, "forget", job="job")
    with socket.create_connection(("127.0.0.1", port)) as noise:
        noise.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert noise.recv(100) == b""


def test_parity_takes_its_share_of_memory(cluster):
    """Each host keeps m / k of the largest host's state for others, no more than rounding adds."""
    found = cluster(6, 4, 2)
    found.begin()
    found.seal(1)
    epoch = found.advance()
    largest = max(content(rank, 1, found.generation).nbytes for rank in range(6))
    for index, keeper in enumerate(found.keepers.values()):
        seals = [s for s in keeper.vault.job("job").inventory(verified=True) if s.kind == PARITY]
        assert [s.epoch for s in seals] == [epoch], index
        assert seals[0].nbytes <= largest * 2 / 4 + 2 * 2 * CHUNK


def test_leaders_commit_by_themselves(memory):
    """Without anybody's doing, what all ranks have sealed is coded and committed on all hosts a moment later."""
    found = Cluster(memory, 4, 2, 2)
    try:
        found.begin()
        found.seal(7)
        done = threading.Event()

        def committed():
            states = [keeper.vault.job("job").state.committed for keeper in found.keepers.values()]
            return all(state == (found.generation, 7) for state in states)

        for _ in range(3000):
            if committed():
                break
            done.wait(0.01)
        assert committed()
    finally:
        found.close()


def test_a_pace_is_kept():
    """Bytes a second are bounded over any time, and a pause is not saved up."""
    now, slept = [0.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(1000, lambda: now[0], sleep)
    for _ in range(20):
        pace.take(100)
    assert now[0] == pytest.approx(1.9, abs=0.11)
    now[0] += 100
    slept.clear()
    pace.take(1000)
    pace.take(1000)
    assert slept == [pytest.approx(0.95)]
    Pace(0, lambda: now[0], sleep).take(1 << 40)


ROSTER = {
    "schema": "offbeat.roster/1", "job": "j", "secret": "MDEyMzQ1Njc4OWFiY2RlZg==",
    "hosts": [{"name": "a", "address": "10.0.0.1:8845", "ranks": [0], "domains": {"rack": "1"}},
              {"name": "b", "address": "[::1]:8845", "ranks": [1]}],
}  # fmt: skip


def test_a_roster_is_read_or_refused_by_field(tmp_path):
    """What is wrong with a roster is said, and one that others may read is not used."""
    found = parse(json.dumps(ROSTER))
    assert (found.k, found.m, found.world, found.lead()) == (1, 1, 2, "a")
    assert found.member("b").address == ("::1", 8845)
    hosts = ROSTER["hosts"]
    for change, words in (
        ({"schema": "x"}, "schema is 'x'"),
        ({"secret": "YQ=="}, "secret: 1 bytes"),
        ({"hosts": hosts[:1]}, "nobody to code with"),
        ({"hosts": [hosts[0], hosts[1] | {"ranks": [2]}]}, "ranks are"),
        ({"hosts": [hosts[0], hosts[1] | {"address": "b"}]}, "is not host:port"),
        ({"hosts": [hosts[0], hosts[0] | {"ranks": [1]}]}, "a host appears twice"),
        ({"k": 4, "m": 2}, "there are 2"),
        ({"job": "../x"}, "job"),
    ):
        with pytest.raises(RosterError, match=words):
            parse(json.dumps(ROSTER | change))
    with pytest.raises(RosterError, match="'secret' is missing"):
        parse(json.dumps({k: v for k, v in ROSTER.items() if k != "secret"}))
    path = tmp_path / "r.json"
    path.write_text(json.dumps(ROSTER))
    path.chmod(0o644)
    with pytest.raises(RosterError, match="chmod 600"):
        read(path)
    with pytest.raises(ConnectionError, match="keeper of a cannot be reached"):
        Peers(parse(json.dumps(ROSTER | {"hosts": [hosts[0] | {"address": "127.0.0.1:1"}, hosts[1]]})), "b", {}).call(
            "a", "generation", job="j"
        )
