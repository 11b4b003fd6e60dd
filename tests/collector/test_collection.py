"""Reading sources together: isolation, batches of bounded size."""

import pyarrow as pa
import pytest

from offbeat import records, wire
from offbeat.collector import collection as module
from offbeat.collector.collection import Collection
from offbeat.collector.source import NoData


class Fake:
    """A source that says what it is told to."""

    def __init__(self, name, *answers, sampled=False, supported=True):
        self.name, self.sampled = name, sampled
        self._answers = list(answers)
        self._supported = supported
        self.reads = 0

    def is_supported(self):
        """Say what was set."""
        return self._supported

    def read(self):
        """Return or raise the next answer."""
        self.reads += 1
        answer = self._answers.pop(0) if self._answers else NoData()
        if isinstance(answer, BaseException):
            raise answer
        return answer


def beats(n, host="a"):
    """Return a table of n heartbeats."""
    return {"heartbeats": records.build("heartbeats", {"at": range(n), "host": [host] * n, "incarnation": [1] * n})}


def test_sources_are_read_when_due():
    """Polled sources are read every time, sampled ones when a sample is due, unsupported ones never."""
    polled, sampled, absent = Fake("polled"), Fake("sampled", sampled=True), Fake("absent", supported=False)
    collection = Collection([polled, sampled, absent])
    collection.read(sample=False)
    collection.read(sample=True)
    assert (polled.reads, sampled.reads, absent.reads) == (2, 1, 0)
    assert collection.unsupported == ["absent"]


def test_failing_source_costs_only_its_own_rows(capsys):
    """A source that fails is counted every time and logged once a change; the others are read."""
    failing = Fake("failing", OSError("gone"), OSError("gone"), ValueError("odd"), beats(1), OSError("gone"))
    collection = Collection([failing, Fake("good", *[beats(2)] * 5)])
    for _ in range(5):
        collection.read(sample=False)
    (tables,) = collection.take()
    assert tables["heartbeats"].num_rows == 11
    assert collection.errors == {"failing": 4}
    said = capsys.readouterr().out
    assert (said.count("source failed"), said.count("source works again")) == (3, 1)


def test_tables_of_one_name_become_one():
    """What several sources and readings say of one kind travels as one table; afterwards there is nothing left."""
    collection = Collection([Fake("a", beats(2), beats(3)), Fake("b", beats(4))])
    collection.read(sample=False)
    collection.read(sample=False)
    (tables,) = collection.take()
    assert tables["heartbeats"].num_rows == 9
    assert list(collection.take()) == []
    assert not collection.urgent


def test_events_are_urgent():
    """An event does not wait for the next regular batch."""
    event = {"events": records.build("events", {"at": [1], "host": ["a"], "kind": ["process_exit"]})}
    collection = Collection([Fake("a", beats(1)), Fake("b", event)])
    collection.read(sample=False)
    assert collection.urgent
    list(collection.take())
    assert not collection.urgent


@pytest.mark.parametrize("rows", [1, 10, 1000, 30_000])
def test_batches_are_bounded(monkeypatch, rows):
    """However much there is, each batch stays below its bound, and together they hold every row once."""
    monkeypatch.setattr(module, "BATCH_BYTES", 100_000)
    event = {"events": records.build("events", {"at": [1], "host": ["a"], "kind": ["x"]})}
    collection = Collection([Fake("a", beats(rows)), Fake("b", event), Fake("c", beats(rows, "b"))])
    collection.read(sample=False)
    batches = list(collection.take())
    assert all(sum(table.nbytes for table in batch.values()) <= 100_000 * 1.1 for batch in batches)
    decoded = [wire.decode(wire.encode(batch))[0] for batch in batches]
    whole = pa.concat_tables([batch["heartbeats"] for batch in decoded if "heartbeats" in batch])
    assert whole.column("at").to_pylist() == [*range(rows), *range(rows)]
    assert sum("events" in batch for batch in decoded) == 1
