"""A program that writes a ring as a trainer would, told what to do on its standard input; see `RingProcess`."""

import os
import subprocess
import sys
import time
from pathlib import Path

from offbeat.collector.ring.writer import RingWriter


class Trainer:
    """What the program can do: each command is a method, its argument a word or a line."""

    def __init__(self, directory, job, attempt, rank, world, source):
        self.ring = RingWriter(Path(directory), source=source)
        self.job, self.attempt, self.world = job, int(attempt), int(world)
        self.kind = self.seq = 0
        if int(rank) >= 0:
            self.rank(rank)

    def rank(self, number):
        """Join the job."""
        rank = int(number)
        self.ring.identify(job=self.job, attempt=self.attempt, rank=rank, world=self.world, local_rank=rank)
        comm = self.ring.communicator("default_pg@0123abcd", "default_pg", rank, tuple(range(self.world)))
        self.kind = self.ring.signature(comm, "all_reduce", native="allreduce", dtype="float32", redop="sum")

    def launch(self, nbytes):
        """Launch an operation."""
        self.seq += 1
        return self.ring.start(self.kind, nbytes, self.seq - 1)

    def ops(self, number):
        """Launch and end operations."""
        for _ in range(int(number)):
            self.ring.end(self.launch(4096))

    def fail(self, _):
        """Launch an operation that ends with an error."""
        self.ring.end(self.launch(4096), 2 + 256)

    def open(self, _):
        """Launch an operation that does not end."""
        self.launch(8192)

    def exception(self, text):
        """Note an exception."""
        self.ring.message("exception", text)

    def note(self, text):
        """Note something else."""
        self.ring.message("note", text)

    def phase(self, text):
        """Say that a phase begins or ends: `begin|end <number> <name>`."""
        word, number, name = text.split()
        self.ring.message(f"phase_{word}", name, int(number))

    def sample(self, where):
        """Note where the main thread was."""
        self.ring.sample(time.monotonic_ns(), "data", where, 7)

    def mark(self, code):
        """Say that the process ends, and how."""
        self.ring.exit(int(code))

    def exit(self, code):
        """End at once."""
        os._exit(int(code))


class RingProcess:
    """One such program, running."""

    def __init__(self, directory, *, rank=0, world=2, job="job-1", attempt=3, source="torch"):
        command = [sys.executable, __file__, str(directory), job, str(attempt), str(rank), str(world), source]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def do(self, line):
        """Have one command carried out; returns when it is."""
        self.tell(line)
        assert self.process.stdout.readline() == "done\n"

    def tell(self, line):
        """Send a command without waiting for it."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def close(self):
        """End it, whatever it does, and collect it."""
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def main():
    """Obey lines of commands until the end of input."""
    trainer = Trainer(*sys.argv[1:])
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        getattr(trainer, command)(argument)
        trainer.ring.tick()
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
