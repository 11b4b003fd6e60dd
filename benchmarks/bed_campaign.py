"""Real faults on eight hosts, one after the other: is each named, rightly, and how soon?

    python benchmarks/bed_campaign.py --testbed ../shared/testbed --tries 10 --out campaign.json
    python benchmarks/bed_campaign.py --faults hang,tbf --tries 2

Needs root, iproute2, iptables, ethtool, and the folder of bed scripts (see bed.py). The service and the agents run as
processes of their own and never learn what was done; what they find is read from the public API and judged by the
table below.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bed import WORLD, Bed, BenchError, Job
from rich.console import Console
from rich.progress import track
from rich.table import Table

from offbeat.cli.demo.interrupts import end_in_order
from offbeat.cli.demo.judge import Expected, judge
from offbeat.cli.demo.report import name_culprits

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.cli.demo.judge import Sighting

QUIET_SECONDS = 4.0
SETTLE_SECONDS = 2.0
NAME_SECONDS = 15.0
"""How long a fault lasts that nobody names, unless it has a length of its own."""
HEAL_SECONDS = 45.0
AFTER_SECONDS = 5.0
"""How long the job is watched after an incident has ended, before the next fault."""

_NETWORK = ("slow.send", "slow.receive", "slow.link")


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault: the words for inject.sh and what is right to say.

    Args:
        words: By rank and by the job's steps a second before.
        expected: By rank.
        exact: The classes that name the very cause; others of `expected` name the culprit by a cousin of it.
        link: Whether a right finding must name the one link from the rank to the next.
        seconds: How long it lasts.
        terminal: Whether the job does not survive it.
    """

    words: Callable[[int, float], tuple[str, ...]]
    expected: Callable[[int], Expected]
    exact: frozenset[str]
    link: bool = False
    seconds: float = NAME_SECONDS
    terminal: bool = False


def _next(rank: int) -> int:
    """Return whom *rank* sends to in gloo's ring."""
    return (rank - 1) % WORLD


def _rank(*classes: str) -> Callable[[int], Expected]:
    return lambda rank: Expected.rank(classes, rank, f"h{rank}")


def _host(*classes: str, sides: tuple[str, ...] = ("src", "dst")) -> Callable[[int], Expected]:
    return lambda rank: Expected(
        frozenset(classes), frozenset({rank}), frozenset({f"h{rank}"}), all_ranks=False, sides=sides
    )


def _link(*classes: str) -> Callable[[int], Expected]:
    def expected(rank: int) -> Expected:
        ranks = (rank, _next(rank))
        return Expected(frozenset(classes), frozenset(ranks), frozenset(f"h{r}" for r in ranks), all_ranks=False)

    return expected


def _words(*words: str) -> Callable[[int, float], tuple[str, ...]]:
    """Fill in `{r}`, the rank; `{n}`, whom it sends to; `{longer}`, a quarter more ms than a step takes, 120 at least.

    Batches are made two ahead: a loader that takes less than a step is not felt at all.
    """

    def fill(rank: int, speed: float) -> tuple[str, ...]:
        longer = max(120, round(1250 / speed)) if speed else 120
        return tuple(word.format(r=rank, n=_next(rank), longer=longer) for word in words)

    return fill


def _fault(
    words: Callable[[int, float], tuple[str, ...]], expected: Callable[[int], Expected], *exact: str, **more: Any
) -> Fault:
    return Fault(words, expected, frozenset(exact), **more)


_HANG = ("hang.not_entered", "hang.in_transport")
FAULTS = {
    "hang": _fault(_words("hang", "{r}"), _rank(*_HANG), *_HANG),
    "freeze": _fault(_words("freeze", "{r}"), _rank(*_HANG), *_HANG),
    "slow": _fault(_words("slow", "{r}", "2"), _rank("slow.compute"), "slow.compute"),
    "burn": _fault(_words("burn", "{r}", "30"), _rank("slow.compute"), "slow.compute"),
    "loader": _fault(_words("loader", "{r}", "{longer}"), _rank("workload.input_stall"), "workload.input_stall"),
    "egress": _fault(_words("egress", "{r}", "20"), _host(*_NETWORK, sides=("src",)), "slow.send"),
    "ingress": _fault(_words("ingress", "{r}", "20"), _host(*_NETWORK, sides=("dst",)), "slow.receive"),
    "pair": _fault(_words("pair", "{r}", "{n}", "--delay-ms 20"), _link("slow.link"), "slow.link", link=True),
    "rate": _fault(_words("rate", "{r}", "20"), _host(*_NETWORK, sides=("src",)), "slow.send"),
    "tbf": _fault(_words("tbf", "{r}", "20"), _host(*_NETWORK, sides=("src",)), "slow.send"),
    "partition": _fault(
        _words("partition", "{r}"), _host("hang.in_transport", "lost.host"), "hang.in_transport", seconds=6.0
    ),
    "linkdown": _fault(
        _words("linkdown", "{r}"),
        _host("hang.in_transport", "device.nic", "lost.host"),
        "hang.in_transport",
        "device.nic",
        seconds=6.0,
    ),
    "kill": _fault(_words("kill", "{r}"), _rank("lost.rank"), "lost.rank", terminal=True),
    "desync": _fault(_words("desync", "{r}"), _rank("hang.mismatch"), "hang.mismatch", terminal=True),
}


class Campaign:
    """Tries faults on jobs of *bed*, and keeps what came of each."""

    def __init__(self, bed: Bed, console: Console) -> None:
        self.results: list[dict[str, Any]] = []
        self.alarms: list[dict[str, Any]] = []
        self._bed, self._console = bed, console
        self._job: Job | None = None
        self._healthy_since = 0.0

    def close(self) -> None:
        """End the job."""
        if self._job is not None:
            self._job.stop()
            self._job = None

    def attempt(self, name: str, rank: int) -> None:
        """Try the fault *name* on *rank*."""
        fault, job = FAULTS[name], self._healthy_job()
        before = _speed(job, QUIET_SECONDS)
        self._note_alarms(job)
        expected, at, load = fault.expected(rank), time.time(), os.getloadavg()[0]

        def right() -> Sighting | None:
            verdict = judge(expected, job.watch.since(at))
            named = verdict.right is not None and (not fault.link or _is_link(verdict.right, rank, _next(rank)))
            return verdict.right if named else None

        words = fault.words(rank, before)
        self._bed.inject(job, True, *words)
        try:
            during = _speed(job, fault.seconds, lambda: right() is not None)
            job.look(SETTLE_SECONDS)
        finally:
            if not fault.terminal:
                self._bed.inject(job, False, *words)
        healed = not fault.terminal and job.look(HEAL_SECONDS, lambda: job.alive() and job.healthy())
        job.look(AFTER_SECONDS)
        seen, wrong = right(), judge(expected, job.watch.since(at)).wrong
        rest = {"at": at, "load": round(load, 1), "steps_before": before, "steps_during": during, "healed": healed}
        self._keep(name, rank, seen, wrong, rest)
        self._healthy_since = time.time()
        if not healed:
            self.close()

    def _healthy_job(self) -> Job:
        if self._job is None or not self._job.alive():
            self.close()
            self._job = self._bed.job(24 * 3600)
            self._job.learn()
            self._healthy_since = time.time()
        return self._job

    def _note_alarms(self, job: Job) -> None:
        for sighting in judge(None, job.watch.since(self._healthy_since)).wrong:
            self.alarms.append(_brief(sighting))
            self._console.print(f"  false alarm: {_brief(sighting)}", markup=False, style="red")

    def _keep(
        self, name: str, rank: int, seen: Sighting | None, wrong: tuple[Sighting, ...], rest: dict[str, Any]
    ) -> None:
        """Keep and print what came of one try."""
        result = {
            "fault": name,
            "rank": rank,
            "right": seen is not None and not wrong,
            "named": seen is not None,
            "exact": seen is not None and seen.findings[-1]["class"] in FAULTS[name].exact,
            "seconds": None if seen is None else round(seen.first_seen - rest["at"], 2),
            "finding": None if seen is None else _brief(seen),
            "extra": [_brief(sighting) for sighting in wrong],
            **rest,
        }
        self.results.append(result)
        said = "not named" if seen is None else f"{_brief(seen)} after {result['seconds']:.1f} s"
        extra = f", extra: {'; '.join(result['extra'])}" if wrong else ""
        sick = "" if rest["healed"] or FAULTS[name].terminal else ", not healthy afterwards"
        self._console.print(
            f"{name:<10} {rank}  {'right' if result['right'] else 'WRONG'}  {said}{extra}{sick}  "
            f"({rest['steps_before']:.1f} -> {rest['steps_during']:.1f} steps/s, load {rest['load']})",
            markup=False,
            highlight=False,
        )


def _speed(job: Job, seconds: float, until: Callable[[], bool] = lambda: False) -> float:
    """Look at *job* for *seconds*, or until *until* holds; return its steps a second meanwhile."""
    steps, start = job.steps(), time.monotonic()
    job.look(seconds, until)
    return (job.steps() - steps) / (time.monotonic() - start)


def _is_link(sighting: Sighting, src: int, dst: int) -> bool:
    links = sighting.findings[-1]["culprits"]["links"]
    return bool(links) and all(
        (link["src_rank"], link["dst_rank"]) == (src, dst)
        or (link["src_host"], link["dst_host"]) == (f"h{src}", f"h{dst}")
        for link in links
    )


def _brief(sighting: Sighting) -> str:
    """Return every different accusation that the incident made, in order."""
    said = [f"{finding['class']} [{name_culprits(finding)}]" for finding in sighting.findings]
    return ", then ".join(dict.fromkeys(said))


def _table(results: list[dict[str, Any]]) -> Table:
    table = Table("fault", "right", "named", "exact class", "with extra", "median s", "longest s")
    for name in dict.fromkeys(result["fault"] for result in results):
        mine = [result for result in results if result["fault"] == name]
        seconds = [result["seconds"] for result in mine if result["seconds"] is not None]
        counts = (sum(bool(result[key]) for result in mine) for key in ("right", "named", "exact", "extra"))
        table.add_row(
            name,
            *(f"{count}/{len(mine)}" for count in counts),
            f"{statistics.median(seconds):.1f}" if seconds else "",
            f"{max(seconds):.1f}" if seconds else "",
        )
    return table


def main() -> int:
    """Run the campaign; return 0 when each fault was right in nine of ten tries and nothing was named in between."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--testbed", type=Path, default=Path(__file__).parents[2] / "shared/testbed")
    parser.add_argument("--tries", type=int, default=1, help="of each fault")
    parser.add_argument("--faults", default=",".join(FAULTS), help="comma-separated; of: " + " ".join(FAULTS))
    parser.add_argument("--seed", type=int, default=1, help="of the order and of the ranks")
    parser.add_argument("--out", type=Path, default=Path("campaign.json"))
    arguments = parser.parse_args()
    names = arguments.faults.split(",")
    if unknown := set(names) - set(FAULTS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    if not (arguments.testbed / "inject.sh").is_file():
        parser.error(f"{arguments.testbed} holds no bed scripts")
    end_in_order()
    console, chance = Console(soft_wrap=True), random.Random(arguments.seed)
    plan = [(name, chance.randrange(WORLD)) for name in names for _ in range(arguments.tries)]
    chance.shuffle(plan)
    # Those that end their job come last, so that the others share one.
    plan.sort(key=lambda step: FAULTS[step[0]].terminal)
    with TemporaryDirectory(prefix="offbeat-bed-") as root, Bed(arguments.testbed, Path(root)) as bed:
        campaign = Campaign(bed, console)
        try:
            for name, rank in track(plan, "faults", console=console, transient=True):
                campaign.attempt(name, rank)
        except (BenchError, KeyboardInterrupt) as error:
            console.print(f"stopped: {error or 'interrupted'}", markup=False, style="red")
        finally:
            campaign.close()
            report = {"results": campaign.results, "false_alarms": campaign.alarms}
            arguments.out.write_text(json.dumps(report, indent=1), encoding="utf-8")
            console.print(_table(campaign.results))
            console.print(
                f"{len(campaign.alarms)} false alarms between faults; details in {arguments.out}", markup=False
            )
    enough = all(
        sum(result["right"] for result in campaign.results if result["fault"] == name) >= 0.9 * arguments.tries
        for name in names
    )
    return 0 if enough and not campaign.alarms else 1


if __name__ == "__main__":
    sys.exit(main())
