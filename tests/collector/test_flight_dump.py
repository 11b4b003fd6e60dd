"""Reading dumps of torch's Flight Recorder, and pickles that anybody may have written."""

import contextlib
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector import flight_dump, plain_pickle

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner, inner, inner)
        | st.dictionaries(
            st.sampled_from(["entries", "pg_status", "pg_id", "process_group", "state", "collective_seq_id"])
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(PLAIN, st.integers(2, 5))
def test_plain_pickles(value, protocol):
    """Plain values come back as they were, whatever the protocol."""
    assert plain_pickle.loads(pickle.dumps(value, protocol)) == value


@given(st.binary(max_size=200), PLAIN, st.integers(0, 100))
def test_any_bytes(junk, value, cut):
    """Whatever bytes come, they are a value or a ValueError, as a pickle and as a dump."""
    whole = pickle.dumps(value, 4)
    for data in (junk, whole[:cut] + junk + whole[cut:], whole[:cut], json.dumps(value).encode()):
        for read in (plain_pickle.loads, flight_dump.read):
            with contextlib.suppress(ValueError):
                read(data)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(print),
        pickle.dumps(ValueError("x")),
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x05\x96\x00\x00\x00\x00\x00\x01\x00\x00.",
        b"\x80\x02" + b"r\xff\xff\xff\xff.",
        b"",
        b"x" * (plain_pickle.MAX_BYTES + 1),
    ],
)
def test_pickles_that_do_something(data):
    """Classes, calls, and requests for memory are refused."""
    with pytest.raises(ValueError):
        plain_pickle.loads(data)


def dump(**more):
    """Return a dump of a group of NCCL with one operation done and two unfinished."""

    def entry(seq, state):
        return {
            "pg_id": 5,
            "process_group": ["35", "tensor"],
            "collective_seq_id": seq,
            "profiling_name": "nccl:all_reduce",
            "state": state,
            "retired": state == "completed",
            "time_created_ns": 100 + seq,
            "is_p2p": False,
        }

    status = {"5": {"last_enqueued_collective": 9, "last_started_collective": 8, "last_completed_collective": 7}}
    entries = [entry(9, "scheduled"), entry(7, "completed"), entry(8, "started")]
    return {"version": "2.10", "entries": entries, "pg_status": status, "pg_config": {}} | more


@pytest.mark.parametrize("encode", [lambda value: json.dumps(value).encode(), pickle.dumps])
def test_what_is_unfinished(encode):
    """Of each group it is known how far it came and which operation is the first that is unfinished."""
    (group,) = flight_dump.read(encode(dump()))
    assert (group.name, group.enqueued, group.completed, group.unfinished) == ("tensor", 9, 7, 2)
    assert (group.first, group.op, group.state, group.created_at) == (8, "all_reduce", "started", 108)


def test_a_rank_without_entries():
    """A rank that recorded nothing still says how far its groups came; JSON says it in strings."""
    status = {"0": {"last_enqueued_collective": "4", "last_completed_collective": "-1"}}
    (group,) = flight_dump.read(json.dumps({"pg_status": status}).encode())
    assert (group.name, group.enqueued, group.completed, group.unfinished) == ("0", 4, -1, 0)


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("comm_lib_trace_rank_12", 12),
        ("fr_rank3.json", 3),
        ("_dump_7", 7),
        ("nccl_trace_rank_0.pkl", 0),
        ("trace", None),
    ],
)
def test_ranks_in_names(name, rank):
    """The rank is the number behind the last `rank`, else the last number."""
    assert flight_dump.rank_of(name) == rank


@pytest.mark.skipif(not SAMPLES.exists(), reason="needs ../shared/samples")
def test_samples():
    """Real dumps of a stalled job: three ranks have one operation unfinished, the fourth none."""
    found = {}
    for path in (SAMPLES / "pytorch_fr_gloo" / "stall").iterdir():
        found.setdefault(flight_dump.rank_of(path.name), set()).add(
            sum(group.unfinished for group in flight_dump.read(path.read_bytes()))
        )
    assert found == {0: {1}, 1: {1}, 2: {1}, 3: {0}}
    for path in (SAMPLES / "flight_recorder_megatron").glob("*/_dump_*"):
        assert flight_dump.read(path.read_bytes())
