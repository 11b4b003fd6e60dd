"""From ring records to rows, whichever of its two ways the conversion takes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat import records
from offbeat.collector import columns, convert
from offbeat.collector.convert import Piece, collectives
from offbeat.collector.ring import layout
from offbeat.collector.ring.reader import OPERATION
from offbeat.collector.source import LocalRank

COMMS = ("", "world@1", "tp@2")
STRINGS = ("", "allreduce", "float32", "sum")
OPERATIONS = st.fixed_dictionaries(
    {
        "comm": st.integers(0, 2),
        "op": st.integers(0, len(layout.OPS) - 1),
        "state": st.integers(0, 3),
        "flags": st.integers(0, 1),
        "native": st.integers(0, 3),
        "dtype": st.integers(0, 3),
        "seq": st.integers(-1, 2**40),
        "p2p_seq": st.integers(-1, 5),
        "peer": st.integers(-1, 5),
        "root": st.integers(-1, 5),
        "traits": st.integers(0, 3),
        "nbytes": st.integers(0, 2**50),
        "enqueued": st.integers(1, 2**60),
        "ended": st.integers(0, 2**60),
        "channels": st.integers(0, 9),
        "graph": st.integers(0, 1),
    }
)


def array(operations):
    """Return operations as a ring's reader gives them."""
    found = np.zeros(len(operations), OPERATION)
    for row, values in enumerate(operations):
        for name, value in values.items():
            found[name][row] = value
    found["fn_seq"] = -1
    return found


@given(
    rings=st.lists(
        st.tuples(st.lists(OPERATIONS, max_size=6), st.lists(OPERATIONS, max_size=3)), min_size=1, max_size=4
    )
)
def test_every_field(rings):
    """Each row has its ring's owner and words, its own numbers, and null for what is not known; by either way."""
    pieces = [
        Piece(LocalRank("j", 7, rank, 1), f"s{rank}", 1000 * rank, (array(done), array(flying)), COMMS, STRINGS)
        for rank, (done, flying) in enumerate(rings)
    ]
    table = collectives(pieces, 99)
    assert table.schema.equals(records.schema("collectives"), check_metadata=True)
    expected = [
        {
            "job": "j",
            "attempt": 7,
            "rank": rank,
            "source": f"s{rank}",
            "comm": COMMS[o["comm"]],
            "op": layout.OPS[o["op"]],
            "state": "unknown" if o["flags"] else records.STATES[o["state"]],
            "native_op": STRINGS[o["native"]] or None,
            "dtype": STRINGS[o["dtype"]] or None,
            "redop": None,
            "seq": o["seq"] if o["seq"] >= 0 else None,
            "p2p_seq": o["p2p_seq"] if o["p2p_seq"] >= 0 else None,
            **{
                name + suffix: o[name] if o[name] >= 0 and inside == bool(o["traits"] & layout.COMM_RANKS) else None
                for name in ("peer", "root")
                for suffix, inside in (("", False), ("_comm_rank", True))
            },
            "device": True if o["traits"] & layout.ON_DEVICE else None,
            "fn_seq": None,
            "nbytes": o["nbytes"],
            "enqueued_at": o["enqueued"] + 1000 * rank,
            "started_at": None,
            "ended_at": o["ended"] + 1000 * rank if o["ended"] else None,
            "channels": o["channels"] or None,
            "graph": True if o["graph"] else None,
            "clock": "cpu",
            "observed_at": 99,
        }
        for rank, both in enumerate(rings)
        for operations in both
        for o in operations
        if o["comm"]
    ]
    rows = [{name: row[name] for name in expected[0]} for row in table.to_pylist()] if expected else table.to_pylist()
    assert rows == expected
    with pytest.MonkeyPatch.context() as patch:
        for module in (columns, convert):
            patch.setattr(module, "FEW_ROWS", 0)
        assert collectives(pieces, 99).equals(table)
