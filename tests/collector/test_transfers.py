"""Transfers of rings as rows: channels summed up, what stands still with its channel."""

import numpy as np
import pytest

from offbeat.collector import transfers
from offbeat.collector.ring import layout
from offbeat.collector.ring.reader import TRANSFER
from offbeat.collector.ring.tables import CommInfo
from offbeat.collector.source import LocalRank

RANK = LocalRank("job", 2, 13, 99)
COMM = CommInfo(1, "0xabc", "", 5, 8, (), 0, 2)
NOW, OFFSET = 10_000_000_000, 1_000_000_000
SEND, RECV = range(2)


def moved(*records):
    """Return transfers of these fields; the others are as of a small send."""
    usual = {
        "comm": 1,
        "side": SEND,
        "peer": 6,
        "seq": 3,
        "nbytes": 100,
        "steps": 4,
        "ready": 4,
        "posted": 4,
        "done": 4,
    }
    usual |= {"started": 1000, "progress": 2000, "gpu_wait": 10, "credit_wait": 20, "wire": 300, "wire_max": 90}
    made = np.zeros(len(records), TRANSFER)
    for row, record in zip(made, records, strict=True):
        for name, value in (usual | record).items():
            row[name] = value
    return made


def rows(*, done=(), moving=()):
    """Return the rows made of transfers that are over, and of those under way."""
    tables = transfers.tables([transfers.Moves(RANK, OFFSET, [COMM], moved(*done), moved(*moving))], NOW)
    return tables["transfers"].to_pylist() if tables else []


def test_channels_are_summed_up():
    """All channels of an operation to one peer are one row: sums, longest step, first start and last end."""
    (row,) = rows(done=[{"channel": 0}, {"channel": 1, "wire_max": 150, "started": 900, "progress": 2500}])
    assert (row["job"], row["attempt"], row["comm"], row["seq"], row["side"]) == ("job", 2, "0xabc", 3, "send")
    assert (row["src"], row["dst"], row["src_comm_rank"], row["dst_comm_rank"]) == (13, None, 5, 6)
    assert (row["channel"], row["nbytes"], row["count"]) == (None, 200, 8)
    assert (row["gpu_wait_ns"], row["credit_wait_ns"], row["wire_ns"], row["wire_max_ns"]) == (20, 40, 600, 150)
    assert (row["flush_ns"], row["steps_total"], row["steps_gpu_ready"]) == (None, 8, 8)
    assert (row["steps_posted"], row["steps_done"]) == (8, 8)
    assert (row["started_at"], row["ended_at"], row["last_progress_at"]) == (OFFSET + 900, OFFSET + 2500, OFFSET + 2500)


def test_what_differs_is_told_apart():
    """Operations, peers and sides each have a row of their own."""
    found = rows(done=[{}, {"seq": 4}, {"peer": 4}, {"side": RECV, "peer": 4}])
    assert [(row["seq"], row["src_comm_rank"], row["dst_comm_rank"], row["side"]) for row in found] == [
        *((3, 5, 4, "send"), (3, 4, 5, "recv"), (3, 5, 6, "send"), (4, 5, 6, "send")),
    ]


def test_receiving_side():
    """A receive has a flush and no credit, and its destination is the rank whose ring it is."""
    (row,) = rows(done=[{"side": RECV, "flush": 70, "ready": 0}])
    assert (row["src"], row["dst"], row["src_comm_rank"], row["dst_comm_rank"]) == (None, 13, 6, 5)
    assert (row["flush_ns"], row["credit_wait_ns"], row["steps_gpu_ready"]) == (70, None, None)


@pytest.mark.parametrize(("before_ns", "told"), [(transfers.STILL_NS + 1, True), (transfers.STILL_NS - 1, False)])
def test_what_stands_still(before_ns, told):
    """What is under way is told, with its channel and without an end, once no step has gone on for a while."""
    found = rows(moving=[{"channel": 7, "posted": 3, "done": 2, "progress": NOW - OFFSET - before_ns}])
    assert [(row["channel"], row["steps_posted"], row["steps_done"], row["ended_at"]) for row in found] == [
        (7, 3, 2, None)
    ] * told


def test_what_a_process_left_behind():
    """Once its process has ended, all that was under way is told: there is no later reading."""
    moving = moved({"posted": 3, "done": 2, "progress": NOW - OFFSET})
    (row,) = transfers.tables([transfers.Moves(RANK, OFFSET, [COMM], moved(), moving, over=True)], NOW)[
        "transfers"
    ].to_pylist()
    assert (row["steps_posted"], row["steps_done"], row["ended_at"]) == (3, 2, None)


def test_nameless_communicators_are_left_out():
    """Of a communicator that the ring has no room to name, nothing is told."""
    assert rows(done=[{"comm": 0}], moving=[{"comm": 0}]) == []


def test_absurd_numbers_do_not_break_it():
    """Whatever a forged ring holds comes out as numbers."""
    edge = {"seq": -(1 << 63), "nbytes": (1 << 63) - 1, "wire": -1, "steps": (1 << 32) - 1, "started": -(1 << 63)}
    assert len(rows(done=[edge, edge, {"peer": -(1 << 31), "done": (1 << 32) - 1}], moving=[edge])) == 3


def test_registry_has_the_sides():
    """Sides of a ring are the registry's words."""
    assert layout.SIDES == ("send", "recv")
