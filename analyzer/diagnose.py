"""From paths to a diagnosis: what each is, read, judged, and put into one document. Needs no service."""

from __future__ import annotations

from dataclasses import replace as changed
from typing import TYPE_CHECKING

import numpy as np

from offbeat.analyzer import topology as topology_of
from offbeat.analyzer.engine.columns import ints, words
from offbeat.analyzer.postmortem import durations, judge, workers
from offbeat.analyzer.readers import capture, flight_files, inspector, inspector_ranks, straggler
from offbeat.analyzer.readers.errors import ReadError
from offbeat.analyzer.readers.sources import Kind, discover
from offbeat.analyzer.replay import replay
from offbeat.diagnosis import Diagnosis
from offbeat.model import Abstention, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from offbeat.model import Finding

TOLD = 100
"""Warnings listed; a directory of something else would otherwise bury the answer."""
_UNNAMED = "job"


def diagnose(paths: Iterable[Path], *, job: str | None = None, topology: pa.Table | None = None) -> Diagnosis:
    """Diagnose what lies at *paths*.

    Args:
        paths: Files or directories of any known kind, mixed as they come.
        job: Name for the job; where a capture holds several, only this one is looked at.
        topology: The `hosts` table, to say what culprit hosts share.
    """
    found = discover(paths)
    document = Diagnosis(job=job, warnings=found.warnings)
    steps = {
        Kind.FLIGHT_RECORDER: _flight_recorder,
        Kind.NCCL_INSPECTOR: _inspector,
        Kind.CAPTURE: _capture,
        Kind.STRAGGLER_TRACE: _straggler,
    }
    for kind, step in steps.items():
        try:
            if found.files[kind] and step(document, found.files[kind]):
                document.source.append(str(kind))
        except Exception as error:  # noqa: BLE001 - a fault in judging one kind must not hide what others tell
            reason = f"{type(error).__name__}: {error}"[:200]
            document.abstained.append(Abstention(f"what the {kind} files say", f"offbeat failed on them ({reason})"))
    if not document.source:
        document.abstained.append(Abstention("anything", "nothing was found that could be read"))
    if topology is not None:
        _place(document, topology)
    order = list(Severity)
    document.findings.sort(key=lambda f: (order.index(f.severity), -f.confidence, f.started_at or 0, f.id))
    if len(document.warnings) > TOLD:
        left = len(document.warnings) - TOLD
        document.warnings[TOLD:] = [f"and {left} more warnings"]
    return document


def _place(document: Diagnosis, hosts: pa.Table) -> None:
    """Add what the hosts of all culprits share, to each finding that names one."""
    evidence = topology_of.shared({host for f in document.findings for host in f.culprits.hosts}, hosts)
    if evidence is not None:
        document.findings = [
            changed(f, evidence=(*f.evidence, evidence)) if f.culprits.hosts else f for f in document.findings
        ]


def _flight_recorder(document: Diagnosis, files: Sequence[Path]) -> bool:
    sets, warnings = flight_files.load(files)
    document.warnings += warnings
    for one in sets:
        verdict = judge.judge(one.dumps)
        where = f"{one.label}: " if one.label else ""
        prefix = f"{one.label}/" if one.label else ""
        document.findings += [
            changed(finding, id=f"{prefix}{finding.id}", summary=f"{where}{finding.summary}")
            for finding in verdict.findings
        ]
        document.abstained += [changed(item, what=f"{where}{item.what}") for item in verdict.abstained]
        document.warnings += [f"{where}{warning}" for warning in verdict.warnings]
        seen = document.observed
        seen.ranks = max(seen.ranks, len(one.dumps))
        seen.communicators += verdict.communicators
        seen.records += sum(dump.records for dump in one.dumps)
        for dump in one.dumps:
            seen.span(dump.oldest, dump.newest)
    return bool(sets)


def _inspector(document: Diagnosis, files: Sequence[Path]) -> bool:
    log = inspector.read(list(files))
    document.warnings += log.warnings
    if not len(log):
        return False
    parts = inspector.jobs(log)
    for number, part in enumerate(parts):
        where = f"job {number + 1} of {len(parts)}: " if len(parts) > 1 else ""
        _inspector_job(document, part, where)
    return True


def _inspector_job(document: Diagnosis, log: inspector.InspectorLog, where: str) -> None:
    ranks, doubt = inspector_ranks.global_ranks(log)
    if doubt:
        document.warnings.append(f"{where}{doubt}")
    tables = inspector_ranks.tables(log, ranks, document.job or _UNNAMED)
    ops = tables["collectives"]
    before = len(document.findings)
    ordered = ops.filter(ops.column("seq").is_valid())
    judged = bool(ordered.num_rows) and _engine(document, {**tables, "collectives": ordered})
    if not (judged and len(document.findings) > before):  # else its start times have told more
        hosts = {ranks[index]: process.host for process, index in log.processes.items()}
        outcome = durations.judge(ops, durations.member_counts(tables["memberships"]), hosts)
        document.findings += [changed(f, id=f"{where}{f.id}", summary=f"{where}{f.summary}") for f in outcome.findings]
        document.abstained += [changed(item, what=f"{where}{item.what}") for item in outcome.abstained]
    _observe(document, tables)


def _capture(document: Diagnosis, files: Sequence[Path]) -> bool:
    tables, warnings = capture.read(files, document.job or _UNNAMED)
    document.warnings += warnings
    names = sorted({name for table in tables.values() for name in words(table, "job")[0]})
    if document.job in names:
        tables = {name: _only(table, document.job or "") for name, table in tables.items()}
        names = [name for name in names if name == document.job]
    if document.job is None and len(names) == 1 and names != [_UNNAMED]:
        document.job = names[0]
    if not any(table.num_rows for table in tables.values()):
        return False
    if not _engine(document, tables):
        document.abstained.append(Abstention("how the job ran", "the capture holds no record with a time"))
    _observe(document, tables)
    return True


def _straggler(document: Diagnosis, files: Sequence[Path]) -> bool:
    read = False
    for file in files:
        try:
            trace = straggler.read(file)
        except ReadError as error:
            document.warnings.append(f"{file}: {error}")
            continue
        read = True
        outcome = workers.judge(trace)
        document.findings += outcome.findings
        document.abstained += outcome.abstained
        document.observed.ranks = max(document.observed.ranks, outcome.ranks)
        document.observed.records += len(trace)
        _iterations(document, [round(length * 1e9) for length in outcome.length])
    return read


def _engine(document: Diagnosis, tables: Mapping[str, pa.Table]) -> bool:
    """Put *tables* through the engine; False when they hold nothing that it can look at."""
    outcome = replay(tables)
    if not outcome.until:
        return False
    document.findings += _one_per_job(outcome.findings.values())
    document.abstained += outcome.abstained
    document.warnings += outcome.warnings
    document.observed.span(outcome.since, outcome.until)
    _iterations(document, outcome.iterations)
    return True


def _one_per_job(findings: Iterable[Finding]) -> list[Finding]:
    """Make ids unique where several jobs or attempts have the same."""
    listed = list(findings)
    several = len({(f.job, f.attempt) for f in listed}) > 1
    return [changed(f, id=f"{f.job}/{f.attempt}/{f.id}") if several else f for f in listed]


def _only(table: pa.Table, job: str) -> pa.Table:
    names, index = words(table, "job")
    return table.filter(index == names.index(job)) if job in names else table.slice(0, 0)


def _observe(document: Diagnosis, tables: Mapping[str, pa.Table]) -> None:
    seen = document.observed
    ranks: set[int] = set()
    hosts: set[str] = set()
    comms: set[str] = set()
    for table in tables.values():
        for column, known in (("host", hosts), ("comm", comms)):
            if column in table.column_names:
                known.update(word for word in words(table, column)[0] if word)
        if "rank" in table.column_names:
            ranks.update(int(rank) for rank in np.unique(ints(table, "rank")) if rank >= 0)
    seen.ranks = max(seen.ranks, len(ranks))
    seen.hosts = max(seen.hosts, len(hosts))
    seen.communicators += len(comms)
    about = {"jobs", "ranks", "hosts", "memberships"}  # what records are of, and no records themselves
    seen.records += sum(table.num_rows for name, table in tables.items() if name not in about)
    if not seen.until and "collectives" in tables:
        times = ints(tables["collectives"], "observed_at")
        if (times > 0).any():
            seen.span(int(times[times > 0].min()), int(times.max()))


def _iterations(document: Diagnosis, lengths: Sequence[int]) -> None:
    if not lengths:
        return
    seen = document.observed
    seen.iterations = (seen.iterations or 0) + len(lengths)
    seen.iteration_median = round(float(np.median(lengths)) / 1e9, 6)
    seen.iteration_p99 = round(float(np.percentile(lengths, 99)) / 1e9, 6)
