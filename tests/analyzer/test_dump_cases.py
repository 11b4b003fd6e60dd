"""Dumps of many simulated jobs that hang in different ways, or do not: who stopped, what class, and no innocent.

The jobs, unlike the product, know nothing of waits and roots: hosts launch, devices run, some stop (support_cluster).
"""

from __future__ import annotations

import pickle

import pytest
from support_cluster import Shape
from support_dumps import as_json, dump, hang, healthy, mismatch, write
from support_verdict import compare

from offbeat.analyzer.diagnose import diagnose
from offbeat.analyzer.postmortem.judge import judge
from offbeat.analyzer.readers.flight_recorder import parse

SEEDS = range(4)


def judged(case):
    """Judge the dumps of *case* as they would be read."""
    dumps = []
    for view in case.views:
        value = dump(view, case.style)
        data = as_json(value) if case.style.as_json else pickle.dumps(value, protocol=2)
        dumps.append(parse(data, path=str(view.rank), rank=view.rank, written=view.written)[0])
    outcome = judge(dumps)
    truth = {"culprits": case.culprits, "traceless": case.traceless, "classes": case.classes}
    return outcome, compare(outcome.findings, outcome.abstained, **truth)


@pytest.mark.parametrize("kind", ["host", "kill", "freeze"])
def test_one_that_stopped_is_named_and_only_it(kind):
    """Its host stopped launching, with or without leaving a dump."""
    for seed in SEEDS:
        case = hang(seed, kind)
        outcome, verdict = judged(case)
        assert verdict.right, (seed, case.note, outcome)


@pytest.mark.parametrize(
    ("kind", "count"), [("host", 2), ("host", 3), ("kill", 2), ("host+kill", 2), ("host+blind", 2)]
)
def test_of_several_at_once_some_are_named_and_nobody_else(kind, count):
    """All of them as a rule; one that hides behind another may be missed."""
    full = 0
    for seed in SEEDS:
        case = hang(seed, kind, count)
        outcome, verdict = judged(case)
        assert not verdict.innocents, (seed, case.note, outcome)
        assert verdict.abstained or len(verdict.missed) < len(case.culprits), (seed, case.note, outcome)
        full += not verdict.missed
    assert full >= len(SEEDS) // 2


@pytest.mark.parametrize(("kind", "count"), [("device", 1), ("device", 2), ("blind", 1), ("blind", 2)])
def test_a_device_that_stands_accuses_no_innocent(kind, count):
    """It is named where the others finished what it has open or began what it has not; else it is said to be open."""
    for seed in SEEDS:
        case = hang(seed, kind, count)
        outcome, verdict = judged(case)
        assert not verdict.innocents, (seed, case.note, outcome)
        assert verdict.right or outcome.abstained or outcome.findings, (seed, case.note)


@pytest.mark.parametrize("what", ["op", "size", "dtype", "skip"])
def test_a_wrong_call_is_its_rank(what):
    """One rank calls another operation, size or type, or leaves a call out."""
    for seed in SEEDS:
        case = mismatch(seed, what)
        outcome, verdict = judged(case)
        assert verdict.right, (seed, case.note, outcome)


@pytest.mark.parametrize("running", [True, False])
def test_a_healthy_job_gets_no_finding(running):
    """Dumped while it runs, each rank a moment apart and its files as they were written, or after its end."""
    for seed in SEEDS:
        case = healthy(seed, running=running)
        outcome, _ = judged(case)
        assert not outcome.findings, (seed, case.note)
        assert not outcome.abstained, (seed, case.note)


def test_files_of_a_case_are_found_whatever_their_names(tmp_path):
    """The same through files, as a user has them."""
    case = hang(1, "host", shape=Shape(2, 2, 2))
    document = diagnose([write(tmp_path / "dumps", case.views, case.style)])
    assert {rank for f in document.findings for rank in f.culprits.ranks} == case.culprits
    assert document.exit_code == 1
