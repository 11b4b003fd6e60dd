"""A job of several processes, and what its rings say."""

import json
from collections import Counter

from offbeat.collector.ring import layout
from offbeat.collector.ring.reader import RingReader, discover


class Job:
    """Processes started for a test."""

    def __init__(self, directory, rings, processes):
        self.directory, self.rings, self.processes = directory, rings, processes
        self._readers = []

    def wait(self, timeout=200):
        """Wait for all ranks; return their exit codes."""
        return [process.wait(timeout) for process in self.processes]

    def succeed(self, timeout=200):
        """Wait for all ranks, and fail with their output if one failed."""
        codes = self.wait(timeout)
        assert not any(codes), "\n".join(f"rank {rank}: {code}\n{self.log(rank)}" for rank, code in enumerate(codes))
        return self

    def log(self, rank):
        """Return what a rank has printed."""
        return (self.directory / f"{rank}.log").read_text()

    def reader(self, rank):
        """Return the reader of a rank's ring, or None where it has none yet."""
        for path in discover(self.rings):
            reader = RingReader(path)
            if reader.header.pid == self.processes[rank].pid:
                self._readers.append(reader)
                return reader
            reader.close()
        return None

    def results(self, rank):
        """Return what a rank has printed after RESULTS, as JSON."""
        line = next(line for line in self.log(rank).splitlines() if line.startswith("RESULTS "))
        return json.loads(line.removeprefix("RESULTS "))

    def recorded(self, rank):
        """Return all that a rank has recorded so far."""
        return Recorded(self.reader(rank))

    def close(self):
        """End what still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        for reader in self._readers:
            reader.close()


class Recorded:
    """One rank's ring, with words for numbers."""

    def __init__(self, reader):
        self.poll = reader.poll()
        self.strings = reader.strings
        self.header = self.poll.header
        self.comms = {info.id: info for info in self.poll.comms}
        self.completed = [self._operation(record) for record in sorted(self.poll.completed, key=lambda r: r["id"])]
        self.open = [self._operation(record) for record in self.poll.open]
        self.notes = [message.text for message in self.poll.messages if message.kind == "recorder_note"]

    def _operation(self, record):
        words = {word: self.strings[record[word]] for word in ("native", "dtype")}
        numbers = {name: int(record[name]) for name in record.dtype.names if name not in words}
        comm = self.comms.get(numbers["comm"])
        return {
            **numbers,
            **words,
            "op": layout.OPS[record["op"]],
            "comm": comm and comm.comm,
            "name": comm and comm.name,
        }

    def count(self, *names):
        """Count the completed operations by fields."""
        return Counter(tuple(operation[name] for name in names) for operation in self.completed)

    def sequence(self, comm=None):
        """Return (communicator, seq, op, bytes) of every collective, open ones too, in order of launch."""
        operations = sorted(self.completed + self.open, key=lambda o: o["id"])
        return [
            (o["comm"], o["seq"], o["op"], o["nbytes"])
            for o in operations
            if o["seq"] >= 0 and comm in {None, o["comm"]}
        ]
