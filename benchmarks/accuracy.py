"""How often the engine names the right class and the right culprit, on simulated jobs it was not made from.

Each run is a simulated job with one fault (or none) put through the engine in event time, as `offbeat diagnose` does.
Run: python benchmarks/accuracy.py [--runs N] [--first SEED] [--mix dedicated|shared] [--class CLASS …] [--healthy]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from multiprocessing import Pool
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offbeat.analyzer.replay import replay
from offbeat.model import FaultClass, Severity
from offbeat.simulator.capture import simulate
from offbeat.simulator.catalogue import scenario

if TYPE_CHECKING:
    from offbeat.model import Finding

SECOND = 1_000_000_000
LINKS = {FaultClass.SLOW_LINK, FaultClass.HANG_IN_TRANSPORT}


def one(task: tuple[int, str, tuple[str, ...], bool]) -> dict[str, Any]:
    """Simulate and judge one scenario."""
    seed, mix, classes, healthy = task
    spec, faults = scenario(seed, mix=mix, classes=[FaultClass(c) for c in classes])
    faults = [] if healthy else faults
    capture = simulate(spec, faults, seed)
    began = time.process_time()
    outcome = replay(capture.tables)
    said = [
        f
        for f in outcome.findings.values()
        if f.severity is not Severity.INFO or str(f.fault).startswith(("workload", "telemetry", "slow.uniform"))
    ]
    loud = [f for f in said if f.severity is not Severity.INFO]
    row: dict[str, Any] = {
        "seed": seed, "ranks": spec.ranks, "tp": spec.tp, "pp": spec.pp, "seconds": time.process_time() - began,
        "job_seconds": (outcome.until - outcome.since) / SECOND,
        "said": [f"{f.fault} r{f.culprits.ranks} {_links(f)[:3]}" for f in loud],
    }  # fmt: skip
    if not faults:
        return {**row, "class": "healthy", "right": not loud, "culprit": not loud, "false": len(loud), "latency": None}
    truth = capture.truth["faults"][0]
    matching = [f for f in said if str(f.fault) == truth["class"]]
    named = [f for f in matching if _same(f, truth)]
    others = [f for f in loud if f not in matching]
    latency = (named[0].detected_at - truth["started_at"]) / SECOND if named and named[0].detected_at else None
    return {
        **row, "class": truth["class"], "times": truth["times"], "right": bool(matching), "culprit": bool(named),
        "false": len(others) + len(matching) - len(named), "latency": latency,
        "where": truth["ranks"] or [list(k.values()) for k in truth["links"]] or truth["leaf"],
    }  # fmt: skip


def _links(finding: Finding) -> list[tuple[int | None, int | None]]:
    return [(link.src_rank, link.dst_rank) for link in finding.culprits.links]


def _same(finding: Finding, truth: dict[str, Any]) -> bool:
    if truth["leaf"] is not None:
        return truth["leaf"] in finding.summary
    if truth["class"] in {"workload.stage_imbalance", "workload.pause", "slow.uniform", "telemetry.lost"}:
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
    parser.add_argument("--healthy", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    tasks = [(options.first + k, options.mix, tuple(options.classes), options.healthy) for k in range(options.runs)]
    with Pool(options.jobs) as pool:
        rows = list(pool.imap_unordered(one, tasks))
    if options.out:
        options.out.write_text("\n".join(json.dumps(r) for r in rows) + "\n")
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
    wrong = [r for r in rows if not r["culprit"] or r["false"]]
    print(f"not right: {dict(Counter(r['class'] for r in wrong))}")
    for r in sorted(wrong, key=lambda r: (r["class"], r["seed"])):
        shape = f"{r['ranks']}/tp{r['tp']}/pp{r['pp']}"
        sys.stdout.write(
            f"  seed {r['seed']} {r['class']} x{r.get('times')} at {r.get('where')} {shape}: said {r['said']}\n"
        )


if __name__ == "__main__":
    main()
