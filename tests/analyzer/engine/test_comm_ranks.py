"""Ranks inside communicators become global ones."""

from offbeat.analyzer.engine.comm_ranks import resolve
from offbeat.records import build

MEMBERS = {"a": {0: 10, 1: 11, 3: 13}, "b": {0: 5}}


def transfers(*rows):
    """Return transfers of (comm, src, src_comm_rank, dst_comm_rank)."""
    columns = zip(*rows, strict=True)
    names = ("comm", "src", "src_comm_rank", "dst_comm_rank")
    return build(
        "transfers", dict(zip(names, columns, strict=True)) | {"seq": [0] * len(rows), "nbytes": [1] * len(rows)}
    )


def test_known_members_are_filled_in():
    """What is null is looked up in its own communicator; what is given stays."""
    found = resolve(transfers(("a", None, 1, 3), ("b", None, 0, 0), ("a", 77, 1, 0)), ("src", "dst"), MEMBERS)
    assert found["src"].to_pylist() == [11, 5, 77]
    assert found["dst"].to_pylist() == [13, 5, 10]


def test_unknown_members_stay_unknown():
    """A communicator or a place in it that nobody has told of gives no rank."""
    rows = transfers(("c", None, 0, 0), ("a", None, 2, 99), ("b", None, 1, None), ("a", None, -1, 0))
    found = resolve(rows, ("src", "dst"), MEMBERS)
    assert found["src"].to_pylist() == [None] * 4
    assert found["dst"].to_pylist() == [None, None, None, 10]


def test_tables_without_such_ranks_are_left_alone():
    """Records of recorders that know global ranks pass untouched."""
    table = build("transfers", {"comm": ["a"], "seq": [0], "nbytes": [1], "src": [1], "dst": [2]})
    assert resolve(table, ("src", "dst"), MEMBERS) is table
