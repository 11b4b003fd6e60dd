"""A process that accepts batches and says which, until it is killed; run by `test_kill`."""

import sys
import threading
import time
from pathlib import Path

from batches import gauges, send

from offbeat.store import catalogue, telemetry
from offbeat.store.engine import Database

THREADS = 3


def run(open_telemetry, thread, first):
    """Send batches *first*, *first* + 1, … of one agent; name each on standard output once it is durable."""
    n = first
    while True:
        receipt = send(open_telemetry, n, gauges([n], host=f"node{thread}"), host=f"node{thread}", incarnation=1)
        assert receipt.durable == n
        sys.stdout.write(f"{thread} {n}\n")
        sys.stdout.flush()
        n += 1


def main():
    """Seal and merge as often as possible, so that a kill hits every stage."""
    url, directory, *firsts = sys.argv[1:]
    telemetry.SEAL_SECONDS, telemetry._TICK_SECONDS = 0.02, 0.005
    catalogue.MERGE_FILES = 3
    opened = telemetry.Telemetry(Database(url), Path(directory))
    sys.stdout.write("open\n")
    sys.stdout.flush()
    for thread, first in enumerate(firsts):
        threading.Thread(target=run, args=(opened, thread, int(first)), daemon=True).start()
    time.sleep(60)


main()
