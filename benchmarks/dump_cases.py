"""How often `offbeat diagnose` is right on dumps and logs of simulated jobs whose faults are known.

The jobs come from the physics in tests/support_cluster.py and tests/support_rhythms.py, which know nothing of the
product. Everything goes through files, as a user's would.
Run: python benchmarks/dump_cases.py [--cases N] [--first SEED] [--kind TEXT] [--show] [--speed]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import support_dumps
import support_rhythms
from support_cluster import Cluster, Faults, Shape, groups, programs
from support_verdict import compare

from offbeat.analyzer.diagnose import diagnose

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HANGS = (
    ("host", 1), ("host", 2), ("host", 3), ("kill", 1), ("kill", 2), ("freeze", 1), ("freeze", 2), ("host+kill", 2),
    ("device", 1), ("device", 2), ("blind", 1), ("blind", 2), ("host+blind", 2),
)  # fmt: skip
CALLS = ("op", "size", "dtype", "skip")


def dump_cases(seeds: Iterable[int]) -> Iterator[Any]:
    """Yield cases of Flight Recorder dumps."""
    for seed in seeds:
        for kind, count in HANGS:
            yield support_dumps.hang(seed, kind, count)
        for what in CALLS:
            yield support_dumps.mismatch(seed, what)
        for running in (True, False):
            yield support_dumps.healthy(seed, running=running)


def log_cases(seeds: Iterable[int]) -> Iterator[Any]:
    """Yield cases of Inspector logs."""
    for seed in seeds:
        for verbose in (False, True):
            for kind in support_rhythms.KINDS:
                yield support_rhythms.case(seed, kind, verbose=verbose)


def judge(case: Any, folder: Path) -> Any:
    """Write a case to files, diagnose them, and compare with its truth."""
    if hasattr(case, "views"):
        support_dumps.write(folder, case.views, case.style)
    else:
        support_rhythms.save(folder, case.lines)
    document = diagnose([folder])
    traceless = getattr(case, "traceless", set())
    return document, compare(
        document.findings, document.abstained, culprits=case.culprits, classes=case.classes, traceless=traceless
    )


def table(cases: Iterable[Any], chosen: str, *, show: bool) -> None:
    """Judge *cases* and print what was right, by kind."""
    rows: dict[str, Counter[str]] = {}
    for case in cases:
        if chosen not in case.kind:
            continue
        with tempfile.TemporaryDirectory() as folder:
            document, verdict = judge(case, Path(folder) / "dumps")
        told = document.abstained and not any(f.culprits.ranks for f in document.findings)
        row = rows.setdefault(case.kind, Counter())
        row["cases"] += 1
        row["class"] += verdict.class_right
        row["culprits"] += not verdict.missed and not verdict.innocents
        row["innocents"] += bool(verdict.innocents)
        row["abstained"] += bool(told)
        if show and not (verdict.right or (told and case.may_abstain)):
            found = [(str(f.fault), f.culprits.ranks) for f in document.findings]
            print(f"  {case.kind}: {found} for {sorted(case.culprits)}; {case.note}", file=sys.stderr)
    print(f"{'kind':30} {'cases':>6} {'class right':>12} {'culprits right':>15} {'innocents':>10} {'abstained':>10}")
    for kind, row in rows.items():
        print(
            f"{kind:30} {row['cases']:6} {row['class']:12} {row['culprits']:15} {row['innocents']:10} "
            f"{row['abstained']:10}"
        )


def speed() -> None:
    """Time the dumps of 1,024 ranks, and Inspector lines against orjson's parsing of the same lines."""
    shape = Shape(8, 4, 32, 8, steps=10)
    members = groups(shape)
    launches = Cluster(programs(shape, members, 1), Faults(host={517: 250_000.0}), seed=1).run()
    by_rank: dict[int, list[Any]] = {rank: [] for rank in range(shape.world)}
    for group in members:
        for rank in group.ranks:
            by_rank[rank].append(group)
    views = [support_dumps.View(rank, by_rank[rank], launches[rank]) for rank in range(shape.world)]
    with tempfile.TemporaryDirectory() as folder:
        support_dumps.write(Path(folder), views, support_dumps.Style(timing=True))
        began = time.process_time()
        document = diagnose([Path(folder)])
        spent = time.process_time() - began
        named = [f.culprits.ranks for f in document.findings]
        print(f"dumps of {shape.world} ranks, {document.observed.records} entries: {spent:.1f} s of CPU, named {named}")
    _lines()


def _lines() -> None:
    import orjson  # noqa: PLC0415 - only this measurement needs it

    case = support_rhythms.case(1, "slow rank", verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        for copy in range(40):  # processes of as many jobs
            for mine in case.lines.values():
                for line in mine:
                    line["metadata"]["hostname"] = f"host{copy}-{line['metadata']['pid'] // 4:04d}"
                    line["header"]["id"] = f"0x{copy:04x}{line['header']['id'][6:]}"
            support_rhythms.save(Path(folder), case.lines)
        data = [path.read_bytes() for path in Path(folder).iterdir()]
        began = time.process_time()
        count = sum(1 for text in data for line in text.splitlines() if orjson.loads(line))
        alone = time.process_time() - began
        began = time.process_time()
        diagnose([Path(folder)])
        spent = time.process_time() - began
    print(f"Inspector, {count} lines: {spent:.1f} s of CPU, {spent / alone:.1f} times what orjson takes to parse them")


def main() -> None:
    """Parse the arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10, help="of each kind")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--kind", default="", help="only kinds whose name holds this")
    parser.add_argument("--show", action="store_true", help="tell the wrong ones on standard error")
    parser.add_argument("--speed", action="store_true", help="only time the reading of large input")
    arguments = parser.parse_args()
    if arguments.speed:
        speed()
        return
    seeds = range(arguments.first, arguments.first + arguments.cases)
    table(dump_cases(seeds), arguments.kind, show=arguments.show)
    table(log_cases(seeds), arguments.kind, show=arguments.show)


if __name__ == "__main__":
    main()
