"""What the store adds to writing files: rows a second into it, and a window out of it.

    python benchmarks/store_ingest.py [--directory DIR] [--rows 1000] [--batches 200] [--agents 8] [--rounds 5]

In: the same batches are accepted by the store (logged, synced, entered in the ledger) and written plainly, one Arrow
IPC file a batch, synced; in turns, so that both meet the same disk. Once by one agent, once by several at the same
time. Out: a window of time is read from the store's segments and from one Parquet file that holds the same rows.
`--directory` must be on the disk that is asked about: a directory in memory syncs nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from offbeat import records, wire
from offbeat.settings import ServiceSettings
from offbeat.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.store import Store

    Batches = list[list[tuple[dict[str, pa.Table], bytes]]]

START = 1_800_000_000_000_000_000
SECOND = 1_000_000_000


def batch(agent: int, n: int, rows: int) -> tuple[dict[str, pa.Table], bytes]:
    """Return the collectives of one rank in one second, as tables and as the body that an agent sends."""
    chance = np.random.default_rng([agent, n])
    begin = START + n * SECOND + np.arange(rows) * (SECOND // rows)
    columns = {
        "job": ["bench"] * rows,
        "attempt": [1] * rows,
        "comm": ["default_pg@00000000"] * rows,
        "rank": [agent] * rows,
        "seq": n * rows + np.arange(rows),
        "op": ["all_reduce"] * rows,
        "nbytes": chance.choice([1 << 20, 1 << 22, 1 << 24], rows),
        "state": ["completed"] * rows,
        "enqueued_at": begin,
        "started_at": begin + chance.integers(1_000, 50_000, rows),
        "ended_at": begin + chance.integers(100_000, 9_000_000, rows),
        "clock": ["cpu"] * rows,
        "source": ["torch"] * rows,
    }
    tables = {"collectives": records.build("collectives", columns)}
    return tables, wire.encode(tables)


def each_in_a_thread(work: Callable[[int], None], agents: int) -> float:
    """Run *work* for each agent at the same time; return the seconds until the last has finished."""
    threads = [threading.Thread(target=work, args=(agent,)) for agent in range(agents)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def accept(store: Store, batches: Batches, incarnation: int) -> float:
    """Give the store all *batches*, by agent; return the seconds."""

    def work(agent: int) -> None:
        for n, (tables, body) in enumerate(batches[agent], 1):
            store.telemetry.accept(f"node{agent}", incarnation, n, tables, body)

    return each_in_a_thread(work, len(batches))


def write_plainly(directory: Path, batches: Batches) -> float:
    """Write all *batches* as synced Arrow IPC files, by agent; return the seconds."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    options = pa.ipc.IpcWriteOptions(compression="zstd")

    def work(agent: int) -> None:
        for n, (tables, _) in enumerate(batches[agent]):
            with (directory / f"{agent}-{n}.arrow").open("wb") as file:
                for table in tables.values():
                    with pa.ipc.new_file(file, table.schema, options=options) as writer:
                        writer.write_table(table)
                file.flush()
                os.fsync(file.fileno())

    return each_in_a_thread(work, len(batches))


def measure_ingest(store: Store, arguments: argparse.Namespace, agents: int, begin: int) -> int:
    """Print rows a second of the store and of plain files, written in turns by *agents* at the same time.

    Records begin at second *begin*; return the second at which they end.
    """
    each = arguments.batches // agents
    rows = agents * each * arguments.rows
    pairs = []
    for number in range(arguments.rounds):
        first = begin + number * each
        batches = [[batch(agent, first + n, arguments.rows) for n in range(each)] for agent in range(agents)]
        # A new run of the agents each time, or all but the first would be duplicates.
        ours, plain = accept(store, batches, time.time_ns()), write_plainly(arguments.directory / "plain", batches)
        pairs.append((ours, plain))
        print(f"  round {number + 1}: store {rows / ours:,.0f} rows/s, plain {rows / plain:,.0f} rows/s", flush=True)
    ours, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(plain / ours for ours, plain in pairs)
    print(
        f"{agents} agent(s), {arguments.rows} rows a batch: store {rows / ours:,.0f} rows/s, "
        f"{1e3 * ours / each:.1f} ms from sending a batch to its receipt; plain {rows / plain:,.0f} rows/s; "
        f"store/plain {ratio:.2f}"
    )
    return begin + arguments.rounds * each


def measure_read(store: Store, arguments: argparse.Namespace, seconds: int) -> None:
    """Print the time to read a tenth of the *seconds* stored, from the store and from one file of the same rows."""
    store.telemetry.seal()
    whole = store.telemetry.read("collectives", job="bench")
    pq.write_table(
        whole.sort_by("enqueued_at"), arguments.directory / "one.parquet", compression="zstd", row_group_size=1 << 17
    )
    since, until = START + seconds // 2 * SECOND, START + (seconds // 2 + max(seconds // 10, 1)) * SECOND
    filters = [("enqueued_at", ">=", since), ("enqueued_at", "<", until)]
    pairs = []
    for _ in range(arguments.rounds):
        began = time.perf_counter()
        found = store.telemetry.read("collectives", job="bench", since=since, until=until)
        middle = time.perf_counter()
        pq.read_table(arguments.directory / "one.parquet", filters=filters)
        pairs.append((middle - began, time.perf_counter() - middle))
    ours, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
    files = len(list((arguments.directory / "data" / "segments").iterdir()))
    print(
        f"a window of {found.num_rows:,} of {whole.num_rows:,} rows, in {files} segments: store {1e3 * ours:.0f} ms, "
        f"one Parquet file {1e3 * plain:.0f} ms; store/plain {ours / plain:.2f}"
    )


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, help="where to write; a temporary directory when absent")
    parser.add_argument("--rows", type=int, default=1000, help="rows a batch")
    parser.add_argument("--batches", type=int, default=200, help="batches a round, over all agents")
    parser.add_argument("--agents", type=int, default=8, help="agents that send at the same time")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.directory = Path(tempfile.mkdtemp(prefix="offbeat-bench-", dir=arguments.directory))
    try:
        with open_store(ServiceSettings(data_dir=arguments.directory / "data")) as store:
            seconds = 0
            for agents in (1, arguments.agents):
                seconds = measure_ingest(store, arguments, agents, seconds)
            measure_read(store, arguments, seconds)
    finally:
        shutil.rmtree(arguments.directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
