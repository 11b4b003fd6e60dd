"""Operations as rows of `collectives`, for tests of the reducer."""

from offbeat import records

T0 = 1_800_000_000_000_000_000
MS = 1_000_000
SECOND = 1_000_000_000


def collectives(rows, **constant):
    """Return rows: dictionaries of what differs from an ended all-reduce of rank 0."""
    usual = {"job": "j", "attempt": 1, "comm": "c", "rank": 0, "op": "all_reduce", "nbytes": 8, "dtype": "float32"}
    full = [usual | {"clock": "cpu", "observed_at": T0, "state": "completed"} | constant | row for row in rows]
    names = sorted({name for row in full for name in row})
    return records.build("collectives", {name: [row.get(name) for row in full] for name in names})


def steady(count, *, first=0, length=2 * MS, period=10 * MS, **more):
    """Return *count* operations of equal length, one a period."""
    return [
        {"seq": seq, "enqueued_at": T0 + seq * period, "ended_at": T0 + seq * period + length} | more
        for seq in range(first, first + count)
    ]
