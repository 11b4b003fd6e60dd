"""A killed process loses nothing that it acknowledged."""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from offbeat.store.telemetry import Telemetry

ROUNDS = 5


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(database, tmp_path):
    """Killed at random, again and again: each acknowledged batch is there, and none is there twice."""
    chance = random.Random(7)
    acknowledged = [0, 0, 0]
    for _ in range(ROUNDS):
        process = subprocess.Popen(
            [
                sys.executable,
                Path(__file__).with_name("acceptor.py"),
                database.engine.url.render_as_string(hide_password=False),
                tmp_path,
                *[str(n + 1) for n in acknowledged],
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        assert process.stdout.readline() == "open\n"
        deadly = chance.randrange(5, 60)
        for count, line in enumerate(process.stdout):
            if line.endswith("\n"):
                thread, n = map(int, line.split())
                acknowledged[thread] = n
            if count == deadly:
                threading.Timer(chance.uniform(0, 0.02), process.kill).start()
        assert process.wait(30) == -9
        telemetry = Telemetry(database, tmp_path)
        rows = telemetry.read("gauges")
        for thread, last in enumerate(acknowledged):
            stored = sorted(row["value"] for row in rows.to_pylist() if row["host"] == f"node{thread}")
            # One more may be stored: it was killed before it could say so, and its agent will send it again.
            assert stored in ([*range(1, last + 1)], [*range(1, last + 2)])
            acknowledged[thread] = len(stored)
        telemetry.close()
    assert sum(acknowledged) > 20
