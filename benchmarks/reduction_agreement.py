"""Whether the engine says the same of reduced records as of raw ones, on the simulator's catalogue.

    python benchmarks/reduction_agreement.py [--runs 40] [--first SEED] [--most OPERATIONS]

Each run is a simulated job with a fault, or none. Its records go through the engine twice: as they are, and as the
agents would send them reduced, a second at a time, each host by a reducer of its own. The verdicts are compared:
class and culprits of all findings of severity warning and critical. Beside that, what share of operations was told one
by one, and bytes a rank and second of both forms as batches on the wire.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from multiprocessing import Pool
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offbeat import wire
from offbeat.analyzer.engine.columns import ints, words
from offbeat.analyzer.replay import replay
from offbeat.model import Severity
from offbeat.records import schema
from offbeat.reducer import Reducer, expand, vectors
from offbeat.simulator.capture import simulate
from offbeat.simulator.catalogue import scenario

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from offbeat.analyzer.replay import Replay

SECOND = 1_000_000_000


def slices(tables: Mapping[str, pa.Table]) -> Iterator[tuple[int, int, dict[str, pa.Table]]]:
    """Yield (host, Unix ns, what its agent reads of operations and transfers in one second), host by host."""
    collectives, transfers = tables["collectives"], tables.get("transfers", schema("transfers").empty_table())
    hosts, host = words(tables["ranks"], "host")
    of_rank = dict(zip(ints(tables["ranks"], "rank").tolist(), host.tolist(), strict=True))
    sides, side = words(transfers, "side")
    sends = np.array([sides[k] == "send" for k in side], bool)
    mover = np.where(sends, ints(transfers, "src"), ints(transfers, "dst"))
    moved = ints(transfers, "ended_at")
    place, at_edge = (
        np.array([of_rank[r] for r in who.tolist()], np.int64) for who in (ints(collectives, "rank"), mover)
    )
    ended = ints(collectives, "ended_at")
    told = tables.get("memberships", schema("memberships").empty_table())
    of_member = words(told, "host")
    for number, name in enumerate(hosts):
        mine = np.nonzero((place == number) & (ended > 0))[0]
        mine = mine[np.argsort(ended[mine], kind="stable")]
        begin = ended[mine[0]] if len(mine) else 0
        second = (ended[mine] - begin) // SECOND
        local = told.filter(pa.array(np.array([of_member[0][k] == name for k in of_member[1]], bool)))
        for at in np.unique(second):
            rows = collectives.take(pa.array(mine[second == at]))
            batch = {"collectives": rows} | ({"memberships": local} if at == 0 else {})
            now = (at_edge == number) & (moved > 0) & ((moved - begin) // SECOND == at)
            if now.any():
                batch["transfers"] = transfers.filter(pa.array(now))
            yield number, int(begin + (at + 1) * SECOND), batch


def reduced(tables: Mapping[str, pa.Table]) -> tuple[dict[str, pa.Table], float, list[int], list[int]]:
    """Return the tables as a service gets them reduced, what share is told one by one, and sizes raw and reduced."""
    reducers: dict[int, Reducer] = defaultdict(Reducer)
    parts, edges, sizes, raw_sizes = [], [], [], []
    for host, now, batch in slices(tables):
        out = reducers[host].reduce(batch, now)
        raw_sizes.append(len(wire.encode({k: v for k, v in batch.items() if k != "memberships"})))
        sizes.append(len(wire.encode({k: v for k, v in out.items() if k != "memberships"})))
        if "vectors" in out:
            parts.append(expand(out["vectors"]))
        if "edge_blocks" in out:
            edges.append(out["edge_blocks"])
    collectives = tables["collectives"]
    open_ = collectives.filter(pa.array(ints(collectives, "ended_at") <= 0))
    told = sum(part.num_rows for part in parts)
    share = told / max(1, collectives.num_rows - open_.num_rows)
    small = {**tables, "collectives": pa.concat_tables([*parts, open_])}
    if edges:
        moving = tables["transfers"].filter(pc.is_null(tables["transfers"]["ended_at"]))
        small |= {"transfers": moving, "edge_blocks": pa.concat_tables(edges)}
    return small, share, raw_sizes, sizes


def verdicts(outcome: Replay) -> set[tuple[str, tuple[int, ...], tuple[str, ...], tuple[Any, ...]]]:
    """Return class and culprits of what is worth an alert."""
    return {
        (
            str(f.fault),
            tuple(f.culprits.ranks),
            tuple(f.culprits.hosts),
            tuple((link.src_rank, link.dst_rank) for link in f.culprits.links),
        )
        for f in outcome.findings.values()
        if f.severity is not Severity.INFO
    }


def one(task: tuple[int, bool]) -> dict[str, Any]:
    """Judge one scenario both ways."""
    seed, healthy = task
    spec, faults = scenario(seed)
    capture = simulate(spec, [] if healthy else faults, seed)
    small, share, raw_sizes, sizes = reduced(capture.tables)
    first, second = verdicts(replay(capture.tables)), verdicts(replay(small))
    rank_seconds = len(sizes) * spec.ranks / max(1, len(capture.tables["hosts"])) if "hosts" in capture.tables else 0
    truth = capture.truth["faults"]
    return {
        "seed": seed,
        "class": truth[0]["class"] if truth else "healthy",
        "same": first == second,
        "same_class": {v[0] for v in first} == {v[0] for v in second},
        "raw": sorted(first),
        "reduced": sorted(second),
        "share": share,
        "raw_bytes": sum(raw_sizes) / max(rank_seconds, 1),
        "reduced_bytes": sum(sizes) / max(rank_seconds, 1),
    }


def main() -> None:
    """Run the scenarios and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--healthy", action="store_true")
    parser.add_argument("--most", type=float, help="operations a second and rank told one by one")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.most:
        vectors.MOST_A_SECOND = vectors.WHOLE_A_SECOND = options.most
    with Pool(options.jobs) as pool:
        rows = list(pool.imap_unordered(one, [(options.first + n, options.healthy) for n in range(options.runs)]))
    by_class = defaultdict(list)
    for row in rows:
        by_class[row["class"]].append(row)
    print(f"{'class':26} runs  same verdict  same class")
    for name, mine in sorted(by_class.items()):
        same, alike = (sum(row[key] for row in mine) for key in ("same", "same_class"))
        print(f"{name:26} {len(mine):4d}  {same:12d}  {alike:10d}")
    means = {key: statistics.mean(row[key] for row in rows) for key in ("share", "raw_bytes", "reduced_bytes")}
    print(f"all: {sum(row['same'] for row in rows)} of {len(rows)} the same; {json.dumps(means)}")
    for row in sorted(rows, key=lambda row: row["seed"]):
        if not row["same"]:
            print(f"  seed {row['seed']} {row['class']} ({row['share']:.2f} told): {row['raw']} but {row['reduced']}")


if __name__ == "__main__":
    main()
