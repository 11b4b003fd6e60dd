"""Two recorders in one process: each operation counts once."""

from offbeat.analyzer.engine.engine import Engine
from offbeat.analyzer.engine.recorders import Recorders
from offbeat.records import build

COLUMNS = ("source", "rank", "enqueued_at", "device", "observed_at")


def collectives(*rows):
    """Return rows of these columns."""
    table = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    n = len(rows)
    same = {"comm": ["c"] * n, "op": ["all_reduce"] * n, "nbytes": [8] * n, "seq": list(range(n)), "job": ["j"] * n}
    return build("collectives", table | same | {"attempt": [1] * n})


def kept(recorders, *rows):
    """Return (source, rank, enqueued_at) of the rows that are used."""
    found = recorders.choose(collectives(*rows)).to_pylist()
    return [(row["source"], row["rank"], row["enqueued_at"]) for row in found]


def test_torch_alone_is_used():
    """Without NCCL's recorder nothing is left out."""
    rows = [("torch", 0, 5, True, 9), ("torch", 0, 6, None, 9), (None, 1, 7, None, 9)]
    assert kept(Recorders(), *rows) == [("torch", 0, 5), ("torch", 0, 6), (None, 1, 7)]


def test_device_operations_are_left_to_nccl():
    """Where NCCL's recorder tells of a rank, torch's operations on the device are left out; its others are not."""
    recorders = Recorders()
    kept(recorders, ("nccl", 0, 50, None, 100))
    rows = [("torch", 0, 150, True, 200), ("torch", 0, 160, None, 200), ("nccl", 0, 151, None, 200)]
    assert kept(recorders, *rows, ("torch", 1, 150, True, 200)) == [
        *(("torch", 0, 160), ("nccl", 0, 151), ("torch", 1, 150)),
    ]


def test_what_was_taken_before_gets_its_end():
    """An operation that torch launched before NCCL's recorder was heard was taken, so its end is, too."""
    recorders = Recorders()
    assert kept(recorders, ("torch", 0, 90, True, 100)) == [("torch", 0, 90)]
    kept(recorders, ("nccl", 0, 95, None, 120), ("torch", 0, 110, True, 120))
    assert kept(recorders, ("torch", 0, 90, True, 200), ("torch", 0, 110, True, 200), ("torch", 0, 121, True, 200)) == [
        *(("torch", 0, 90), ("torch", 0, 110)),
    ]


def test_operation_not_begun_on_its_device_is_not_entered():
    """By the device's clock a rank enters when the device begins, however long ago its host launched."""
    second = 1_000_000_000
    engine = Engine()
    members = {"job": ["j"] * 2, "attempt": [1] * 2, "comm": ["c"] * 2, "comm_rank": [0, 1], "n_ranks": [2] * 2}
    engine.ingest({"memberships": build("memberships", members | {"rank": [0, 1]})}, second)
    row = {"job": ["j"] * 3, "attempt": [1] * 3, "comm": ["c"] * 3, "op": ["all_reduce"] * 3, "nbytes": [8] * 3}
    row |= {"rank": [0, 1, 1], "seq": [0, 0, 1], "clock": ["gpu"] * 3, "enqueued_at": [5, 5, 6]}
    row |= {"started_at": [7, None, None], "ended_at": [None, None, 99], "observed_at": [second] * 3}
    engine.ingest({"collectives": build("collectives", row)}, second)
    (window,) = engine._jobs["j", 1].windows.values()
    assert window.entered.tolist() == [0, -1]
    assert window.enter[0].tolist() == [7, 0]
