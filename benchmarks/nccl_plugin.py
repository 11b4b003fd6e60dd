"""What the NCCL plugin costs a call of NCCL's, and whether an agent keeps up with it.

Usage: python benchmarks/nccl_plugin.py [--blocks N] [--rate EVENTS] [--seconds S]

The goal is at most 150 ns an event (median, one core). Beside each kind of call stand two references, measured by
turns in the same process: a callback that does nothing, and a plain store of 64 bytes. Blocks are short and alternate,
so that a machine whose speed wanders bends all of them alike. Then a process makes so many events a second, paced,
while a reader polls its ring as the agent does; what is lost is counted.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from offbeat.collector.recorders.nccl import build
from offbeat.collector.source import NoData
from offbeat.collector.sources.rings import RingsSource

GOAL_NS = 150.0
VERSION = "7"
POLL_SECONDS = 0.25
PROGRAMS = Path(__file__).parents[1] / "tests/collector/recorders/nccl"
REFERENCES = ("empty", "store64", "clock")


def compiled(name: str, directory: Path) -> Path:
    """Compile one of the programs that play NCCL."""
    command = [*(build.compiler() or ["cc"]), "-std=c11", "-O2", "-pthread", "-o", str(directory / name)]
    subprocess.run([*command, str(PROGRAMS / f"{name}.c"), "-ldl"], check=True)
    return directory / name


def calls(bench: Path, library: Path, blocks: int, environment: dict[str, str]) -> dict[str, list[float]]:
    """Return nanoseconds a call, by kind of call, a value a block."""
    said = subprocess.run(
        [bench, library, VERSION, str(blocks)], env=environment, capture_output=True, text=True, check=True
    ).stdout
    found = defaultdict(list)
    for line in said.splitlines():
        kind, value = line.split()
        found[kind].append(float(value))
    return found


def show(found: dict[str, list[float]]) -> None:
    """Print the medians, and how many times the references they are."""
    empty, store = (statistics.median(found[name]) for name in ("empty", "store64"))
    print(f"{'call':18} {'median':>8} {'best':>8}   x empty  x 64-byte store")
    for kind, values in found.items():
        median = statistics.median(values)
        ratios = "" if kind in REFERENCES else f"   {median / empty:7.1f}  {median / store:15.1f}"
        print(f"{kind:18} {median:5.1f} ns {min(values):5.1f} ns{ratios}")
    worst = max(statistics.median(values) for kind, values in found.items() if kind not in REFERENCES)
    print(
        f"all calls of a job together: {statistics.median(found['all']):.0f} ns an event; dearest kind {worst:.0f} ns;"
    )
    print(f"goal {GOAL_NS:.0f} ns (store64 lies in the caches, clock is one reading of CLOCK_MONOTONIC)")


def rate(driver: Path, library: Path, events: int, seconds: float, environment: dict[str, str]) -> None:
    """Let a process make events at a rate while its ring is read; print what arrived."""
    process = subprocess.Popen(
        [driver, library, VERSION, "rate", str(events), str(seconds)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    source = RingsSource("node", Path(environment["OFFBEAT_RING_DIR"]))
    rows, cpu, begun = 0, time.process_time(), time.monotonic()
    last = begun + seconds + 1
    while time.monotonic() < last:
        time.sleep(POLL_SECONDS)
        try:
            tables = source.read()
        except NoData:
            continue
        rows += sum(tables[name].num_rows for name in ("collectives", "transfers") if name in tables)
    cpu, lasted = time.process_time() - cpu, time.monotonic() - begun
    said = dict(line.split() for line in process.communicate("\n")[0].splitlines())
    reached = int(said["events"]) / int(said["nanoseconds"]) * 1e9
    print(
        f"{reached:,.0f} events/s for {seconds:.0f} s ({int(said['operations']):,} operations): {rows:,} rows read, "
        f"{source.counts['overwritten']} records lost; reading took {cpu / lasted:.1%} of a core"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=300)
    parser.add_argument("--rate", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryDirectory(dir="/dev/shm") as rings:
        library = build.build(Path(work))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OFFBEAT_")}
        environment = kept | {"OFFBEAT_RING_DIR": rings, "RANK": "0", "WORLD_SIZE": "8"}
        show(calls(compiled("bench", Path(work)), library, arguments.blocks, environment))
        with tempfile.TemporaryDirectory(dir=rings) as fresh:
            driver = compiled("driver", Path(work))
            rate(driver, library, arguments.rate, arguments.seconds, environment | {"OFFBEAT_RING_DIR": fresh})


if __name__ == "__main__":
    main()
