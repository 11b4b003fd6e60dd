"""Reduced operations say the same as raw ones: each host reduces its own, and the engine names the same culprits."""

import numpy as np
import pyarrow as pa
import pytest
from tests.analyzer.engine.ringjob import RingJob

from offbeat.analyzer.engine.columns import ints
from offbeat.analyzer.engine.engine import Engine
from offbeat.model import Severity
from offbeat.reducer import Reducer


class Hosts:
    """The agents of a job's hosts, each with a reducer of its own."""

    def __init__(self, job):
        self.job, self.reducers = job, {host: Reducer() for host in job.hosts}

    def reduce(self, tables, now):
        """Return what the agents send of *tables*."""
        parts = {name: [table] for name, table in tables.items() if name != "collectives"}
        host = np.array([self.job.host(rank) for rank in ints(tables["collectives"], "rank").tolist()])
        for name, reducer in self.reducers.items():
            mine = tables["collectives"].filter(pa.array(host == name, pa.bool_()))
            for kind, table in reducer.reduce({"collectives": mine}, now).items():
                parts.setdefault(kind, []).append(table)
        return {name: pa.concat_tables(tables) for name, tables in parts.items()}


def verdicts(engine):
    """Return what the engine says now, in short."""
    return {
        (str(f.fault), f.culprits.ranks, f.culprits.hosts, tuple((k.src_rank, k.dst_rank) for k in f.culprits.links))
        for f in engine.findings()
        if f.severity is not Severity.INFO
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("trouble", "fault"),
    [
        ({"slow": {3: 1.5}}, "slow.compute"),
        ({"stopped": {5: 1}}, "hang.not_entered"),
        ({"slow_edge": (4, 12.0)}, None),
        ({"skip": 2}, "hang.mismatch"),
        ({}, None),
    ],
    ids=["slow rank", "rank that stops", "slow edge", "skipped collective", "healthy"],
)
def test_the_same_verdict(trouble, fault):
    """Class and culprits are those that raw records give."""
    job = RingJob()
    raw, small, hosts = Engine(), Engine(), Hosts(job)
    for engine in (raw, small):
        engine.ingest(job.preamble(), job.now)
    rows = [0, 0]
    for phase, seconds in ((0, 15), (1, 12)):
        for name, value in trouble.items() if phase else ():
            setattr(job, name, value)
        for now, tables in job.run(seconds):
            reduced = hosts.reduce(tables, now)
            for engine, given in ((raw, tables), (small, reduced)):
                engine.ingest(given, now)
                engine.evaluate(now)
            if not phase and "collectives" in reduced:
                rows[1] += reduced["collectives"].num_rows
            rows[0] += tables["collectives"].num_rows
    assert rows[1] == 0 < rows[0]
    assert verdicts(small) == verdicts(raw)
    if fault:
        assert {verdict[0] for verdict in verdicts(small)} == {fault}
