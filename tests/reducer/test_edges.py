"""Transfers: sums by edge and block, merged by addition; those under way stay as they are."""

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given
from hypothesis import strategies as st
from tests.reducer.operations import T0

from offbeat import records
from offbeat.reducer import Reducer
from offbeat.reducer.edges import expand

transfer = st.tuples(st.integers(0, 200), st.integers(0, 1), st.integers(1, 1000), st.booleans())


@given(st.lists(st.lists(transfer, max_size=20), max_size=4))
def test_sums_are_those_of_all(calls):
    """Bytes, wire time and numbers are right by edge and block, however they came; open transfers are untouched."""
    reducer, found, open_, wanted, still = Reducer(), [], [], {}, 0
    for drawn in filter(None, calls):
        seq, src, size, ended = (list(values) for values in zip(*drawn, strict=True))
        columns = {"job": ["j"] * len(seq), "attempt": [1] * len(seq), "comm": ["c"] * len(seq), "seq": seq, "src": src}
        columns |= {"dst": [1 - rank for rank in src], "nbytes": size, "wire_ns": [10 * n for n in size]}
        columns |= {"started_at": [T0] * len(seq), "ended_at": [T0 + 1 if done else None for done in ended]}
        out = reducer.reduce({"transfers": records.build("transfers", columns)}, T0)
        found += [out["edge_blocks"]] if "edge_blocks" in out else []
        open_ += [out["transfers"]] if "transfers" in out else []
        for s, rank, n, done in drawn:
            key = rank, s >> 6
            count, total = wanted.get(key, (0, 0))
            if done:
                wanted[key] = count + 1, total + n
            still += not done
    whole = [expand(table) for table in found]
    assert sum(pc.sum(table["nbytes"]).as_py() for table in whole) == sum(n for _, n in wanted.values())
    assert sum(pc.sum(table["wire_ns"]).as_py() for table in whole) == sum(10 * n for _, n in wanted.values())
    ended = {seq for drawn in calls for seq, _, _, done in drawn if done}
    assert {seq for table in whole for seq in table["seq"].to_pylist()} <= ended
    assert max((seq for table in whole for seq in table["seq"].to_pylist()), default=-1) == max(ended, default=-1)
    sums = {}
    for row in pa.concat_tables(found).to_pylist() if found else []:
        assert row["wire_sum"] == 10 * row["nbytes"]
        count, total = sums.get((row["src"], row["block"]), (0, 0))
        sums[row["src"], row["block"]] = count + row["n"], total + row["nbytes"]
    assert sums == wanted
    assert sum(table.num_rows for table in open_) == still
