"""The plugin at a high rate, beside an agent that reads."""

import threading

import pytest

from offbeat.collector.source import NoData
from offbeat.collector.sources.rings import RingsSource

POLL_SECONDS = 0.25


@pytest.mark.slow
def test_nothing_is_lost(play):
    """Of 200,000 events a second, read four times a second as the agent does, every operation and transfer arrives."""
    played = play(7, "rate", 200_000, 3)
    source, over = RingsSource("node1", played.directory), threading.Event()
    counts = {"collectives": 0, "steps": 0}

    def read():
        try:
            tables = source.read()
        except NoData:
            return
        if "collectives" in tables:
            counts["collectives"] += tables["collectives"].filter(tables["collectives"]["ended_at"].is_valid()).num_rows
        if "transfers" in tables:
            counts["steps"] += sum(tables["transfers"]["count"].to_pylist())

    def agent():
        while not over.wait(POLL_SECONDS):
            read()

    thread = threading.Thread(target=agent)
    thread.start()
    try:
        played.ready()
    finally:
        over.set()
        thread.join()
    read()
    assert source.counts["overwritten"] == 0
    assert counts == {"collectives": played.said["operations"], "steps": 8 * played.said["operations"]}
