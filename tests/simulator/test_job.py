"""The physics of simulated jobs: who waits for whom, and what a fault moves."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from statistics import median

import numpy as np
import pytest

from offbeat.model import FaultClass
from offbeat.simulator.capture import simulate
from offbeat.simulator.catalogue import scenario
from offbeat.simulator.faults import Fault
from offbeat.simulator.schedule import schedule
from offbeat.simulator.spec import JobSpec, Noise

QUIET = Noise(host=0, rank=0, chunk=0, transfer=0, pause_chance=0, gc_chance=0, data_ms=0.001, skew_ms=0.001)
SPEC = JobSpec(ranks=32, tp=4, pp=2, steps=6, noise=QUIET, first_step_s=0, drift_ppm=0, offset_ms=0, transfers=True)


def rows_of(capture, table, comm):
    """Return the rows of one communicator."""
    return [row for row in capture.tables[table].to_pylist() if row["comm"] == comm]


def test_the_same_seed_gives_the_same_capture():
    """And another seed another one."""
    first, again, other = (simulate(JobSpec(ranks=16, tp=2, pp=2, steps=3), (), seed) for seed in (5, 5, 6))
    assert all(first.tables[name].equals(again.tables[name]) for name in first.tables)
    assert not first.tables["collectives"].equals(other.tables["collectives"])


def test_waiting_propagates_to_those_who_are_quick():
    """A slow rank waits least in its tensor group, and its peers wait for it by as much as it computes longer."""
    slow = simulate(SPEC, [Fault(FaultClass.SLOW_COMPUTE, ranks=(1,), times=1.5, start=0)], 1)
    rows = rows_of(slow, "collectives", "tp0")
    waits = {r: median(row["ended_at"] - row["enqueued_at"] for row in rows if row["rank"] == r) for r in range(4)}
    assert waits[1] < min(waits[r] for r in (0, 2, 3)) / 2
    assert max(waits[r] for r in (0, 2, 3)) - min(waits[r] for r in (0, 2, 3)) < 0.05 * waits[0]


def test_a_slow_edge_is_slow_on_the_wire_and_starves_the_rest():
    """Time on the wire grows on the edge alone; the other edges of its ring wait for credit instead."""
    slow = simulate(SPEC, [Fault(FaultClass.SLOW_LINK, links=((4, 8),), times=3, start=0)], 1)
    wire, credit = defaultdict(list), defaultdict(list)
    for row in rows_of(slow, "transfers", "dp0"):
        wire[row["src"], row["dst"]].append(row["wire_ns"] / row["nbytes"])
        credit[row["src"], row["dst"]].append(row["credit_wait_ns"])
    on_wire, waited = median(wire.pop((4, 8))), median(credit.pop((4, 8)))
    assert on_wire > 2.5 * max(median(values) for values in wire.values())
    assert waited < min(median(values) for values in credit.values())


def test_a_rank_that_stops_leaves_everybody_waiting():
    """Its peers are inside what it never entered; nothing is finished after, and it has no row there."""
    capture = simulate(SPEC, [Fault(FaultClass.HANG_NOT_ENTERED, ranks=(5,), start=3)], 1)
    waiting = [row for row in capture.tables["collectives"].to_pylist() if row["ended_at"] is None]
    assert {4, 6, 7} <= {row["rank"] for row in waiting if row["comm"] == "tp1"}
    assert 5 not in {row["rank"] for row in waiting}


def test_members_of_an_exchange_of_tokens_leave_when_they_have_theirs():
    """A slow edge holds up its own two ends; whoever has nothing to do with it leaves earlier."""
    spec = replace(SPEC, tp=1, pp=1, ep=32, steps=4, hot=0.0, noise=replace(QUIET, routing=0.0))
    slow = simulate(spec, [Fault(FaultClass.SLOW_LINK, links=((4, 8),), times=20, start=0)], 1)
    rows = [row for row in rows_of(slow, "collectives", "ep0") if row["seq"] == 2]
    left = {row["rank"]: row["ended_at"] for row in rows}
    assert {row["op"] for row in rows} == {"all_to_all"}
    assert min(left[4], left[8]) > max(at for rank, at in left.items() if rank not in {4, 8})


def test_hot_experts_stay_hot():
    """Who gets more tokens in one step gets more in the next: the sizes members send back are uneven, and lasting."""
    capture = simulate(replace(SPEC, tp=1, pp=1, ep=8, steps=8, hot=0.4), (), 1)
    back = [row for row in rows_of(capture, "collectives", "ep0") if row["seq"] % 2]
    sizes = {r: [row["nbytes"] for row in back if row["rank"] == r] for r in range(8)}
    typical = [median(values) for values in sizes.values()]
    assert max(typical) > 1.3 * min(typical)


def test_sharded_parameters_are_gathered_beside_the_computing():
    """Each piece has its gather, launched while the piece before computes; gradients are scattered to their owners."""
    capture = simulate(replace(SPEC, tp=1, pp=1, steps=2, sharded=True, chunks=2), (), 1)
    ops = [row["op"] for row in rows_of(capture, "collectives", "dp0") if row["rank"] == 0]
    assert ops.count("all_gather") >= 2 * ops.count("reduce_scatter") > 0


def test_context_groups_pass_keys_round():
    """Replicas that share a sequence exchange keys and values forward, and their gradients backward."""
    capture = simulate(replace(SPEC, cp=2, steps=2), (), 1)
    assert {row["op"] for row in rows_of(capture, "collectives", "cp0")} == {"all_gather", "reduce_scatter"}


@pytest.mark.parametrize(("stages", "virtual"), [(3, 2), (4, 2), (4, 3)])
def test_an_interleaved_schedule_passes_every_piece_once(stages, virtual):
    """Forward before backward of each piece, and a job with it comes to an end: no stage waits in a circle."""
    for stage in range(stages):
        order = schedule(stage, stages, 2 * stages, virtual)
        assert len(order) == len(set(order)) == 4 * stages * virtual
        for task in order:
            if task.backward:
                assert order.index(task._replace(backward=False)) < order.index(task)
    ranks = 2 * stages
    spec = replace(SPEC, ranks=ranks, tp=1, pp=stages, virtual=virtual, microbatches=2 * stages, steps=2)
    paths = {
        (row["rank"], row["peer"])
        for row in simulate(spec, (), 1).tables["collectives"].to_pylist()
        if row["op"] == "send"
    }
    assert (ranks - 2, 0) in paths  # the last stage's first piece goes on at the first stage


def test_hosts_keep_their_own_time():
    """Clock offsets move what a host writes down, and nothing else."""
    exact, shifted = (simulate(replace(SPEC, offset_ms=ms), (), 1).tables["collectives"] for ms in (0.0, 50.0))
    moved = shifted["enqueued_at"].to_numpy() - exact["enqueued_at"].to_numpy()
    host = exact["rank"].to_numpy() // 8
    assert all(np.ptp(moved[host == h]) <= 1 for h in set(host))  # by rounding
    assert np.abs(moved).max() > 1_000_000


@pytest.mark.parametrize("stages", [1, 2, 4])
@pytest.mark.parametrize("microbatches", [1, 3, 8])
def test_every_stage_does_all_microbatches_once(stages, microbatches):
    """Forward before backward of each, and never more under way than the pipeline is deep."""
    for stage in range(stages):
        order = schedule(stage, stages, microbatches)
        assert len(order) == 2 * microbatches == len(set(order))
        under_way = np.cumsum([-1 if task.backward else 1 for task in order])
        assert under_way.min() >= 0
        assert under_way.max() <= stages - stage


@pytest.mark.parametrize("seed", range(6))
def test_scenarios_have_a_truth(seed):
    """Whatever is drawn: the capture is labelled simulated, and the truth names class, place and time."""
    spec, faults = scenario(seed)
    spec = replace(spec, ranks=spec.tp * spec.pp * 4, steps=42, cp=1, ep=1)
    faults = [f for f in faults if max((*f.ranks, *(r for link in f.links for r in link)), default=0) < spec.ranks]
    capture = simulate(spec, faults, seed)
    assert capture.tables["jobs"].to_pylist()[0]["simulated"]
    assert [f["class"] for f in capture.truth["faults"]] == [str(f.fault) for f in faults]
