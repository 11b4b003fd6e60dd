"""Flight Recorder dumps in all their forms."""

from __future__ import annotations

import json
import os
import pickle

import pytest
from support_fr import Job, as_json

from offbeat.analyzer.readers.dumps import canonical, ends
from offbeat.analyzer.readers.errors import ReadError
from offbeat.analyzer.readers.flight_files import load
from offbeat.analyzer.readers.flight_recorder import parse, rank_of


def read(data):
    return parse(data, path="dump_0", rank=0)


@pytest.fixture
def dump():
    job = Job(2)
    job.call(numel=12)
    job.send(0, 1)
    job.call(op="_all_gather_base", done=False)
    return job.dump(0)


def test_pickle_and_json_say_the_same(dump):
    """Strings for numbers, lists for tuples and 0 for no time make no difference."""
    (a, _), (b, _) = read(pickle.dumps(dump)), read(as_json(dump))
    assert a.status == b.status
    assert a.configs == b.configs
    same = ("record", "group", "desc", "seq", "op", "p2p", "open", "created", "finished", "numels", "types")
    for x, y in zip(a.entries, b.entries, strict=True):
        assert [getattr(x, name) for name in same] == [getattr(y, name) for name in same]


def test_older_and_newer_versions_are_read(dump):
    """Keys that a version lacks, or adds, are no reason to fail."""
    old = {**dump, "version": "2.1", "nccl_version": "2.18", "future": {"a": 1}}
    del old["comm_lib_version"], old["pg_status"]
    for entry in old["entries"]:
        for key in ("timeout_ms", "is_p2p", "retired", "input_dtypes", "output_dtypes", "pg_id", "op_id"):
            entry.pop(key)
    found, broken = read(pickle.dumps(old))
    assert broken == 0
    assert [entry.op for entry in found.entries] == ["all_reduce", "send", "all_gather"]
    assert [entry.open for entry in found.entries] == [False, True, True]
    assert found.entries[1].p2p


def test_ranks_may_be_text_or_a_list(dump):
    """`ranks` is a text in what torch writes, and a list in what others make of it."""
    listed = json.loads(json.dumps(dump))
    listed["pg_config"]["0"]["ranks"] = [0, "1"]
    assert read(json.dumps(listed).encode())[0].configs == read(pickle.dumps(dump))[0].configs


def test_broken_entries_are_counted_and_the_rest_is_read(dump):
    """One bad entry costs one entry."""
    dump["entries"] += [None, {}, {"profiling_name": 5}, {"profiling_name": "nccl:send 0->1", "collective_seq_id": "x"}]
    dump["entries"].append({"profiling_name": "nccl:barrier", "collective_seq_id": [], "state": []})
    found, broken = read(pickle.dumps(dump))
    assert len(found.entries) == 3 + 1
    assert broken == 4


@pytest.mark.parametrize("data", [b"{}", b"[]", b"null", b'{"entries"', b"\x80\x02]q\x00.", b"\x80\x02K\x05."])
def test_what_is_no_dump_is_refused_with_a_reason(data):
    """JSON and pickles that hold something else, or end in the middle."""
    with pytest.raises(ReadError):
        read(data)


def test_a_pickle_that_names_a_class_is_refused(dump):
    """Nothing in a dump is ever executed, and the message says what was refused."""
    dump["entries"].append(os.system)
    with pytest.raises(ReadError, match=r"refused class posix\.system"):
        read(pickle.dumps(dump))


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("nccl_trace_rank_12", 12),
        ("rank3.json", 3),
        ("fr_trace_12.pickle", 12),
        ("_dump_9", 9),
        ("comm_lib_trace_rank_0", 0),
        ("node7_rank5_1758580155.pkl", 5),
        ("trace.15.json.bak", 15),
        ("README.md", None),
    ],
)
def test_the_rank_is_the_names_last_number(name, rank):
    """After the last `rank`, if that word is there."""
    assert rank_of(name) == rank


@pytest.mark.parametrize(
    ("native", "op"),
    [
        ("_all_gather_base", "all_gather"),
        ("all_gather_into_tensor_coalesced", "all_gather"),
        ("allreduce_coalesced", "all_reduce"),
        ("_reduce_scatter_base", "reduce_scatter"),
        ("REDUCE_SCATTER_coalesced", "reduce_scatter"),
        ("_broadcast_oop", "broadcast"),
        ("all_reduce_barrier", "barrier"),
        ("all_to_all_v_single", "all_to_all"),
        ("coalesced", "coalesced"),
        ("send 0->1", "send"),
        ("recv 3<-0", "recv"),
        ("new_window", "other"),
    ],
)
def test_torchs_names_have_one_word_each(native, op):
    """The words are those of the record registry."""
    assert canonical(native) == op


def test_transfers_name_their_ends():
    """A send's arrow points away, a receive's towards its rank."""
    assert ends("send 0->1") == (0, 1)
    assert ends("recv 3<-0") == (0, 3)
    assert ends("all_reduce") is None


def test_a_dump_without_a_rank_in_its_name_is_left_out(tmp_path, dump):
    """There is no telling whose it is."""
    (tmp_path / "trace").write_bytes(pickle.dumps(dump))
    sets, warnings = load([tmp_path / "trace"])
    assert sets == []
    assert "no rank in its name" in warnings[0]


def test_huge_files_are_not_read(tmp_path, monkeypatch, dump):
    """A size limit stands before anything is read."""
    monkeypatch.setattr("offbeat.analyzer.readers.flight_files.MAX_BYTES", 10)
    (tmp_path / "trace_0").write_bytes(pickle.dumps(dump))
    sets, warnings = load([tmp_path / "trace_0"])
    assert sets == []
    assert "are not read" in warnings[0]
