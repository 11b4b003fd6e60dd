"""From what NCCL tells a plugin to a finding: rings of eight processes, agents' sources, batches, the engine.

The processes live in a time of their own, so nothing here waits for a clock.
"""

import subprocess

import pytest

from offbeat import wire
from offbeat.analyzer.engine.engine import Engine
from offbeat.collector.agent import once
from offbeat.collector.source import NoData
from offbeat.collector.sources.rings import RingsSource
from offbeat.model import FaultClass
from offbeat.records import build
from offbeat.settings import AgentSettings

WORLD = 8
EPOCH = 1_800_000_000_000_000_000
STEP = 0.25
LEARNED = 15.0
"""Seconds after which faults begin."""


class Cluster:
    """Eight ranks on as many hosts, each with an agent's source, and one engine."""

    def __init__(self, rank, plugin, directory, fault):
        self.life, self.now, self.told, self.tables = 0.0, EPOCH, [], {}
        self.engine, self.ranks, self.sources = Engine(), [], []
        for number in range(WORLD):
            rings = directory / f"h{number}"
            arguments = [rank, plugin, "7", number, WORLD, fault, LEARNED]
            environment = {"RANK": str(number), "WORLD_SIZE": str(WORLD), "OFFBEAT_RING_DIR": str(rings)}
            process = subprocess.Popen(
                [*map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment | {"OFFBEAT_JOB": "job", "OFFBEAT_ATTEMPT": "4"},
            )
            assert process.stdout.readline() == "done\n"
            self.ranks.append(process)
            self.sources.append(RingsSource(f"h{number}", rings, clock=lambda: self.now))

    def run(self, until):
        """Let the job live until that second; return the findings told meanwhile."""
        told = []
        while self.life < until:
            self.life += STEP
            self.now = EPOCH + int(self.life * 1e9)
            for process in self.ranks:
                process.stdin.write(f"{self.life}\n")
                process.stdin.flush()
            for process in self.ranks:
                assert process.stdout.readline() == "done\n"
            for host, source in enumerate(self.sources):
                batch, unknown = wire.decode(wire.encode(self.batch(host, source)))
                assert unknown == 0
                self.engine.ingest(batch, self.now)
            told += self.engine.evaluate(self.now)
        self.told += told
        return told

    def batch(self, host, source):
        """Return what the agent of a host sends."""
        beat = {"at": [self.now], "host": [f"h{host}"], "incarnation": [1], "ranks": [[host]], "interval_ns": [10**9]}
        try:
            tables = source.read()
        except NoData:
            tables = {}
        for name, table in tables.items():
            self.tables.setdefault(name, []).extend(table.to_pylist())
        return tables | {"heartbeats": build("heartbeats", beat)}

    def close(self):
        """End all ranks."""
        for process in self.ranks:
            process.kill()
            process.communicate()


@pytest.fixture
def cluster(program, plugin, tmp_path):
    """Return a function that starts a job whose fault begins once it is learned."""
    started = []

    def start(fault):
        started.append(Cluster(program("rank", "-rdynamic"), plugin, tmp_path, fault))
        return started[-1]

    yield start
    for found in started:
        found.close()


def test_agent_reads_what_a_killed_process_left(play, tmp_path):
    """What was in flight in a process that was killed is what its agent sends, with the end of the process."""
    played = play(7, "hang", OFFBEAT_JOB="job").ready()
    played.process.kill()
    played.process.wait()
    found = once(AgentSettings(host="node1", ring_dir=played.directory, spool_dir=tmp_path / "spool"))
    left = [(row["rank"], row["comm"], row["seq"], row["state"]) for row in found["collectives"].to_pylist()]
    done = [(3, "0xbad", seq, "completed") for seq in range(3)]
    assert sorted(left) == [*done, (3, "0xbad", 3, "started"), (3, "0xbad", 4, "enqueued")]
    ended = [row["kind"] for row in found["events"].to_pylist() if row["rank"] == 3]
    assert "process_exit" in ended
    (edge,) = [row for row in found["transfers"].to_pylist() if row["ended_at"] is None]
    expected = {"src": 3, "src_comm_rank": 2, "dst_comm_rank": 3, "channel": 1, "steps_posted": 2, "steps_done": 1}
    assert {name: edge[name] for name in expected} == expected


@pytest.mark.slow
def test_healthy_job(cluster):
    """A job without a fault has none; its rows carry identity, seq, GPU times and, per edge, both sides' transfers."""
    job = cluster("none")
    assert job.run(LEARNED + 10) == []
    rows = job.tables["collectives"]
    assert {(r["job"], r["attempt"], r["comm"], r["op"], r["clock"], r["source"]) for r in rows} == {
        ("job", 4, "0x5eed", "all_reduce", "gpu", "nccl"),
    }
    done = [r for r in rows if r["state"] == "completed"]
    last = max(r["seq"] for r in done)
    assert sorted({(r["rank"], r["seq"]) for r in done}) == sorted((r["rank"], r["seq"]) for r in done)
    assert all(5e6 < r["ended_at"] - r["started_at"] < 12e6 for r in done)
    assert last > 900
    moved = job.tables["transfers"]
    assert {(r["src_comm_rank"], r["dst_comm_rank"], r["side"]) for r in moved} == {
        (r, (r + 1) % WORLD, side) for r in range(WORLD) for side in ("send", "recv")
    }
    assert all(r["src"] == r["src_comm_rank"] and r["dst"] is None for r in moved if r["side"] == "send")
    sends = [r for r in moved if r["side"] == "send"]
    assert all(3.7e6 < r["wire_ns"] < 4.3e6 and r["steps_done"] == r["steps_total"] == 2 for r in sends)


@pytest.mark.slow
def test_slow_link_is_named(cluster):
    """One edge that is longer on the wire is a slow link, and nothing else is said."""
    job = cluster("link")
    assert job.run(LEARNED) == []
    told = job.run(LEARNED + 15)
    assert {f.fault for f in told} == {FaultClass.SLOW_LINK}
    assert {(link.src_rank, link.dst_rank) for f in told for link in f.culprits.links} == {(2, 3)}


@pytest.mark.slow
def test_edge_that_stops_is_named(cluster):
    """All ranks are inside, and of one edge a step was posted and does not get done: it stopped there."""
    job = cluster("hang")
    assert job.run(LEARNED) == []
    told = job.run(LEARNED + 8)
    assert {f.fault for f in told} == {FaultClass.HANG_IN_TRANSPORT}
    assert {(link.src_rank, link.dst_rank) for f in told for link in f.culprits.links} == {(2, 3)}
    assert {f.culprits.ranks for f in told} == {()}


@pytest.mark.slow
def test_gpu_that_does_not_begin_is_named(cluster):
    """A rank whose host has launched what its GPU does not begin has not entered it."""
    job = cluster("late")
    assert job.run(LEARNED) == []
    told = job.run(LEARNED + 8)
    assert {(f.fault, f.culprits.ranks) for f in told} == {(FaultClass.HANG_NOT_ENTERED, (5,))}
