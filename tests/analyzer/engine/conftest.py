"""What the engine tests share."""

from __future__ import annotations

import pytest
from tests.analyzer.engine.ringjob import RingJob

from offbeat.analyzer.engine.engine import Engine


class Bench:
    """An engine that watches one simulated job."""

    def __init__(self, **job):
        self.job = RingJob(**job)
        self.engine = Engine()
        self.engine.ingest(self.job.preamble(), self.job.now)
        self.told = []

    def run(self, seconds):
        """Let the job live for *seconds*; return the findings told meanwhile."""
        told = []
        for now, tables in self.job.run(seconds):
            self.engine.ingest(tables, now)
            told += self.engine.evaluate(now)
        self.told += told
        return told

    def tell(self, **tables):
        """Hand over tables beside the job's own."""
        self.engine.ingest(tables, self.job.now)


@pytest.fixture
def bench():
    """A job of eight ranks on as many hosts whose beat is learned."""

    def make(**job):
        made = Bench(**job)
        assert made.run(15) == []
        return made

    return make
