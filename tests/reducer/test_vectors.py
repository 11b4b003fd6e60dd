"""Vectors: operations come back as they were, as near as they were kept."""

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reducer.operations import MS, SECOND, T0, collectives, steady

from offbeat import records, wire
from offbeat.reducer import Reducer, expand, unfold
from offbeat.reducer import vectors as module

operations = st.lists(
    st.tuples(
        st.integers(0, 3),  # rank
        st.sampled_from(["a", "b"]),  # communicator
        st.sampled_from(["all_reduce", "all_gather", "send", "recv"]),
        st.integers(0, 3 * SECOND),  # gap before it
        st.integers(0, 20 * SECOND),  # length
        st.integers(1, 3),  # size
    ),
    max_size=40,
)


@given(operations)
def test_operations_come_back(drawn):
    """Whose, what and which number are exact, starts to a microsecond, lengths to two parts in ten thousand."""
    at, counts, rows = {}, {}, []
    for rank, comm, op, gap, length, size in drawn:
        peer = 7 if op in {"send", "recv"} else None
        key = rank, comm, op if peer else None
        counts[key] = seq = counts.get(key, -1) + 1
        at[rank] = start = at.get(rank, T0) + gap
        row = {"rank": rank, "comm": comm, "op": op, "nbytes": size, "peer": peer}
        row["p2p_seq" if peer else "seq"] = seq
        rows.append(row | {"enqueued_at": start, "ended_at": start + length})
    given_ = collectives(rows) if rows else collectives([{}]).slice(0, 0)
    tables = Reducer().reduce({"collectives": given_}, T0)
    assert "collectives" not in tables
    tables, ignored = wire.decode(wire.encode(tables))
    assert ignored == 0
    back = expand(tables["vectors"]) if rows else None
    if back is None:
        assert tables == {}
        return
    order = [(name, "ascending") for name in ("comm", "rank", "op", "peer", "seq", "p2p_seq")]
    given_, back = given_.sort_by(order), back.sort_by(order)
    for name in ("job", "attempt", "comm", "rank", "op", "peer", "seq", "p2p_seq", "dtype"):
        assert back[name].to_pylist() == given_[name].to_pylist(), name
    paired = np.array(given_["peer"].is_valid())
    assert (back["nbytes"].to_numpy()[~paired] == given_["nbytes"].to_numpy()[~paired]).all()
    starts = given_["enqueued_at"].to_numpy() - back["started_at"].to_numpy()
    assert ((starts >= 0) & (starts < 1000)).all()
    lengths = pc.subtract(given_["ended_at"], given_["enqueued_at"]).to_numpy()
    kept = pc.subtract(back["ended_at"], back["started_at"]).to_numpy()
    assert (np.abs(kept - lengths) <= 2e-4 * lengths + 1).all()


def test_all_members_tell_the_same_operations():
    """At a thousand a second each rank tells one in sixteen, and all of them the same ones."""
    reducer, told = Reducer(), {rank: set() for rank in range(4)}
    for second in range(10):
        rows = [row for rank in told for row in steady(1000, first=1000 * second, length=MS // 2, period=MS, rank=rank)]
        out = expand(reducer.reduce({"collectives": collectives(rows)}, T0 + (second + 1) * SECOND)["vectors"])
        for rank, seq in zip(out["rank"].to_pylist(), out["seq"].to_pylist(), strict=True):
            told[rank].add(seq)
    assert told[0] == told[1] == told[2] == told[3]
    assert 0.6 * module.MOST_A_SECOND < len(told[0]) / 10 <= 1.2 * module.MOST_A_SECOND


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                name: st.lists(st.one_of(st.none(), st.integers(-3, 3)), max_size=3)
                for name in ("seq_step", "start_step_us", "kind")
            }
            | {name: st.lists(st.one_of(st.none(), st.integers(0, 65535)), max_size=3) for name in ("duration", "own")}
            | {
                "kinds": st.lists(
                    st.one_of(st.none(), st.just({"op": "all_reduce", "nbytes": None, "dtype": None})), max_size=2
                )
            }
        ),
        max_size=4,
    )
)
def test_rows_that_contradict_themselves(rows):
    """Whatever lists a row holds, those of one length come back and nothing else; none breaks it."""
    constant = {"comm": "c", "rank": 0, "thin": 0, "first_seq": 0, "first_started_at": T0, "observed_at": T0}
    full = [constant | row for row in rows]
    table = records.build("vectors", {name: [row[name] for row in full] for name in full[0]} if full else {})
    back = expand(table)
    lists = ("seq_step", "start_step_us", "kind", "duration", "own")
    assert back.num_rows <= sum(min(len(row[name]) for name in lists) for row in rows)


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 9))
def test_in_parts(lengths, most):
    """Parts hold so many operations at most, together all of them; a row that is longer is left out."""
    constant = {"comm": "c", "rank": 0, "thin": 0, "first_seq": 0, "first_started_at": T0, "observed_at": T0}
    lists = {name: [[0] * n for n in lengths] for name in ("seq_step", "start_step_us", "duration", "own", "kind")}
    kinds = {"kinds": [[{"op": "barrier", "nbytes": 0, "dtype": None}]] * len(lengths)}
    table = records.build("vectors", {name: [value] * len(lengths) for name, value in constant.items()} | lists | kinds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PART", most)
        parts = [part.num_rows for part in unfold(table)]
    assert all(rows <= most for rows in parts)
    assert sum(parts) == sum(n for n in lengths if n <= most)


def test_nothing_to_expand():
    """No rows give no rows."""
    table = Reducer().reduce({"collectives": collectives(steady(1))}, T0)["vectors"]
    assert expand(table.slice(0, 0)).num_rows == 0
    assert expand(table).num_rows == 1
