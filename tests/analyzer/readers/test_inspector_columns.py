"""Inspector lines as columns say what they say line by line."""

from __future__ import annotations

import json

import pytest
import support_rhythms

from offbeat.analyzer.readers import inspector, inspector_columns

COLUMNS = ("comm", "process", "op", "number", "nbytes", "peer", "duration", "started", "ended", "seen", "kernel")


def both(folder, monkeypatch):
    """Read the logs in *folder* by columns and line by line."""
    files = sorted(folder.iterdir())
    fast = inspector.read(files)
    monkeypatch.setattr(inspector_columns, "parse", lambda data: None)
    return fast, inspector.read(files)


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("cut", [False, True])
def test_columns_and_lines_agree(tmp_path, monkeypatch, verbose, cut):
    """The same operations of the same members in the same order, plain and verbose, cut or whole."""
    case = support_rhythms.case(3, "slow rank", verbose=verbose)
    fast, slow = both(support_rhythms.save(tmp_path / "logs", case.lines, cut=cut), monkeypatch)
    assert len(fast) > 500
    assert all(getattr(fast, name) == getattr(slow, name) for name in COLUMNS)
    assert (fast.comms, fast.processes, fast.places, fast.names) == (
        slow.comms,
        slow.processes,
        slow.places,
        slow.names,
    )
    assert fast.warnings == slow.warnings


def line(**more):
    """Return a line with *more* in it."""
    header = {"id": "0x1", "comm_name": "pp", "rank": 0, "n_ranks": 2, "nnodes": 1}
    meta = {"dump_timestamp_us": 5_000_000, "hostname": "n0", "pid": 1}
    perf = {"coll": "AllReduce", "coll_sn": 0, "coll_msg_size_bytes": 8, "coll_exec_time_us": 3}
    return {"header": header, "metadata": meta, "coll_perf": perf} | more


def data(*lines):
    """Return *lines* as a file has them."""
    return "".join(json.dumps(one) + "\n" for one in lines).encode()


def test_unknown_keys_are_passed_over():
    """Later versions add some, at every level."""
    perf = line()["coll_perf"] | {"coll_algo": "RING", "extra": {"a": [1]}}
    blocks = inspector_columns.parse(data(line(), line(coll_perf=perf, more=[1, {"b": None}])))
    assert [len(block.who) for block in blocks] == [2]
    assert blocks[0].took.tolist() == [3, 3]


def test_sends_are_a_block_of_their_own():
    """They have a peer."""
    p2p = {"p2p": "Send", "p2p_sn": 4, "p2p_peer": 1, "p2p_msg_size_bytes": 8, "p2p_exec_time_us": 9}
    send = {key: value for key, value in line(p2p_perf=p2p).items() if key != "coll_perf"}
    blocks = inspector_columns.parse(data(line(), send))
    assert [(b.ops, b.number.tolist(), b.peer.tolist()) for b in blocks] == [
        (["AllReduce"], [0], [-1]),
        (["Send"], [4], [1]),
    ]


@pytest.mark.parametrize(
    "odd",
    [
        b"no json\n",
        b"\n",
        b"[1]\n",
        data(line()).replace(b"n0", b"\xff\xfe"),
        data({"coll_perf": line()["coll_perf"]}),
        data(line(dump_stats={"coll_dropped_total": 3})),
        data(line(header={"id": "0x1", "rank": -1, "n_ranks": 2})),
        data(line(header={"id": "0x1", "rank": "0", "n_ranks": 2})),
        data(line(coll_perf={"coll": "AllReduce", "coll_sn": 1})),
        data(line(coll_perf={"coll": "AllReduce", "coll_sn": 1 << 62, "coll_exec_time_us": 3})),
        data(line(coll_perf={"coll": "AllReduce", "coll_sn": 1.5, "coll_exec_time_us": 3})),
        data({"header": line()["header"], "metadata": line()["metadata"]}),
    ],
)
def test_what_needs_care_is_left_to_the_lines(odd):
    """A block with anything irregular in it is not taken as columns at all."""
    assert inspector_columns.parse(data(line()) + odd) is None
