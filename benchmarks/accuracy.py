"""How often the engine names the right class and the right culprit, on simulated jobs it was not made from.

Each run is a simulated job with one fault, two, or none, put through the engine in event time, as `offbeat diagnose`
does. Right is a run in which every fault has a finding of its class that names exactly its culprits.
Run: python benchmarks/accuracy.py [--runs N] [--first SEED] [--mix dedicated|shared] [--every | --class CLASS …]
[--shape sudden|creeping|intermittent|pair] [--healthy]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from multiprocessing import Pool
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from offbeat.analyzer.replay import replay
from offbeat.model import FaultClass, Severity
from offbeat.simulator.capture import simulate
from offbeat.simulator.catalogue import EVERY, scenario

if TYPE_CHECKING:
    from offbeat.model import Finding

SECOND = 1_000_000_000
OF_THE_JOB = {f"workload.{name}" for name in ("stage_imbalance", "sequence_imbalance", "pause", "input_stall")}
VARIANTS = ("cp", "ep", "virtual", "sharded", "transfers")
LINKS = {FaultClass.SLOW_LINK, FaultClass.HANG_IN_TRANSPORT}


class Task(NamedTuple):
    """One run."""

    seed: int
    mix: str
    classes: tuple[str, ...]
    shape: str
    healthy: bool
    most: int


def one(task: Task) -> dict[str, Any]:
    """Simulate and judge one scenario."""
    classes = [FaultClass(c) for c in task.classes]
    spec, faults = scenario(task.seed, mix=task.mix, classes=classes, shape=task.shape, most=task.most)
    capture = simulate(spec, [] if task.healthy else faults, task.seed)
    began = time.process_time()
    outcome = replay(capture.tables)
    took = time.process_time() - began
    said = [
        f
        for f in outcome.findings.values()
        if f.severity is not Severity.INFO or str(f.fault).startswith(("workload", "telemetry", "slow.uniform"))
    ]
    loud = [f for f in said if f.severity is not Severity.INFO]
    truths = _merged(capture.truth["faults"])
    iteration = statistics.median(outcome.iterations) / SECOND if outcome.iterations else None
    row: dict[str, Any] = {
        "seed": task.seed, "ranks": spec.ranks, "tp": spec.tp, "pp": spec.pp, "seconds": took, "iteration": iteration,
        "job_seconds": (outcome.until - outcome.since) / SECOND,
        "shape": {k: v for k in VARIANTS if (v := int(getattr(spec, k))) > 1 - (k in {"sharded", "transfers"})},
        "said": [f"{f.fault} r{f.culprits.ranks} h{f.culprits.hosts} {_links(f)[:3]}" for f in loud],
        "abstained": [a.what for a in outcome.abstained],
    }  # fmt: skip
    named = [[f for f in said if str(f.fault) == t["class"] and _same(f, t)] for t in truths]
    of_class = [[f for f in said if str(f.fault) == t["class"]] for t in truths]
    good = [f for some in named for f in some]
    waits = [(some[0].detected_at or 0) - t["started_at"] for some, t in zip(named, truths, strict=True) if some]
    return {
        **row, "class": "+".join(sorted(t["class"] for t in truths)) or "healthy",
        "times": [t["times"] for t in truths],
        "right": all(of_class) and (bool(truths) or not loud), "culprit": all(named) and (bool(truths) or not loud),
        "false": sum(f not in good for f in loud), "latency": max(waits) / SECOND if waits else None,
        "confidence": [(f.confidence, f in good) for f in loud],
        "where": [t["ranks"] or [tuple(k.values()) for k in t["links"]] or t["leaf"] for t in truths],
    }  # fmt: skip


def _merged(truths: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the truth, ranks that stop at the same time as the roots of one hang."""
    if len({(t["class"], t["started_at"]) for t in truths}) < len(truths) and truths[0]["class"].startswith("hang"):
        return [{**truths[0], "ranks": sorted(r for t in truths for r in t["ranks"])}]
    return truths


def _links(finding: Finding) -> list[tuple[int | None, int | None]]:
    return [(link.src_rank, link.dst_rank) for link in finding.culprits.links]


def _same(finding: Finding, truth: dict[str, Any]) -> bool:
    if truth["leaf"] is not None:
        return truth["leaf"] in finding.summary
    if truth["class"] in {"slow.uniform", "telemetry.lost"} or truth["class"] in OF_THE_JOB:
        return not finding.culprits.ranks and not finding.culprits.hosts
    if truth["class"] in {"lost.host", "device.nic", "device.memory", "device.disk"}:
        return set(finding.culprits.hosts) == set(truth["hosts"])
    if finding.fault in LINKS and truth["links"]:
        wanted = {(k["src_rank"], k["dst_rank"]) for k in truth["links"]}
        return set(_links(finding)) == wanted
    return set(finding.culprits.ranks) == set(truth["ranks"])


def main() -> None:
    """Run the scenarios and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--mix", default="dedicated")
    parser.add_argument("--class", dest="classes", action="append", default=[])
    parser.add_argument("--every", action="store_true", help="all classes of the contract, evenly")
    parser.add_argument("--shape", default="sudden", choices=("sudden", "creeping", "intermittent", "pair"))
    parser.add_argument("--healthy", action="store_true")
    parser.add_argument("--ranks", type=int, default=128, help="of the largest job, up to 1024")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    classes = tuple(str(c) for c in EVERY) if options.every else tuple(options.classes)
    seeds = range(options.first, options.first + options.runs)
    tasks = [Task(seed, options.mix, classes, options.shape, options.healthy, options.ranks) for seed in seeds]
    rows = []
    with Pool(options.jobs) as pool, ExitStack() as stack:
        out = stack.enter_context(options.out.open("w")) if options.out else None
        for row in pool.imap_unordered(one, tasks):
            rows.append(row)
            if out is not None:
                # At once: what a run that is broken off found out so far is not lost.
                print(json.dumps(row), file=out, flush=True)
    report(rows)


def report(rows: list[dict[str, Any]]) -> None:
    """Print a line a class, then what went wrong."""
    by_class = defaultdict(list)
    for row in rows:
        by_class[row["class"]].append(row)
    print(f"{'class':30} runs  class right  culprit right  false findings  latency median/p90 (s)")
    for name, mine in sorted(by_class.items()):
        waits = sorted(r["latency"] for r in mine if r["latency"] is not None)
        shown = f"{statistics.median(waits):.1f} / {waits[int(0.9 * (len(waits) - 1))]:.1f}" if waits else "-"
        share = [100 * sum(r[k] for r in mine) / len(mine) for k in ("right", "culprit")]
        false = sum(r["false"] for r in mine)
        print(f"{name:30} {len(mine):4d}  {share[0]:9.1f} %  {share[1]:11.1f} %  {false:14d}  {shown}")
    hours = sum(r["job_seconds"] for r in rows) / 3600
    print(f"{len(rows)} runs, {hours:.2f} job-hours, {sum(r['seconds'] for r in rows) / len(rows):.2f} s of CPU a run")
    late = [r for r in rows if r["latency"] is not None and r["latency"] > max(10.0, 10 * (r["iteration"] or 0))]
    print(f"named later than 10 s and 10 iterations: {[r['seed'] for r in late]}")
    _reliability(rows)
    wrong = [r for r in rows if not r["culprit"] or r["false"]]
    print(f"not right: {dict(Counter(r['class'] for r in wrong))}")
    for r in sorted(wrong, key=lambda r: (r["class"], r["seed"])):
        shape = f"{r['ranks']}/tp{r['tp']}/pp{r['pp']} {r['shape']}"
        sys.stdout.write(f"  seed {r['seed']} {r['class']} x{r['times']} at {r['where']} {shape}: said {r['said']}\n")


def _reliability(rows: list[dict[str, Any]]) -> None:
    """Print how often findings of some confidence were right."""
    by_confidence: dict[float, list[bool]] = defaultdict(list)
    for row in rows:
        for confidence, good in row["confidence"]:
            by_confidence[round(confidence, 2)].append(good)
    told = [f"{c:.2f}: {sum(good)} of {len(good)}" for c, good in sorted(by_confidence.items())]
    print(f"right by confidence: {', '.join(told) or '-'}")


if __name__ == "__main__":
    main()
