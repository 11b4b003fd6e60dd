"""A diagnosis for people: culprits first, then why, who suffers, and what could not be told; 80 columns."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from offbeat.analyzer.postmortem import wording
from offbeat.faults import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from offbeat.diagnosis import Diagnosis
    from offbeat.model import Finding

WIDTH = 80
SHOWN = 6
"""Pieces of evidence and warnings printed; the JSON form has all."""


def render(diagnosis: Diagnosis) -> str:
    """Return the text of *diagnosis*."""
    return "\n".join(_lines(diagnosis))


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    yield from _wrap(_headline(diagnosis), "")
    for finding in diagnosis.findings:
        yield ""
        yield from _finding(finding)
    if diagnosis.abstained:
        yield ""
        yield "Could not be told:"
        for item in diagnosis.abstained:
            yield from _wrap(f"{item.what}: {item.why}", "  - ")
    if diagnosis.warnings:
        yield ""
        yield "Warnings:"
        for warning in diagnosis.warnings[:SHOWN]:
            yield from _wrap(warning, "  - ")
        if (left := len(diagnosis.warnings) - SHOWN) > 0:
            yield f"  - and {left} more"


def _headline(diagnosis: Diagnosis) -> str:
    seen = diagnosis.observed
    word = {0: "Healthy", 1: "Not healthy", 3: "Could not tell"}[diagnosis.exit_code]
    name = f"{diagnosis.job}: " if diagnosis.job else ""
    if not diagnosis.source:
        return f"{name}{word}."
    what = [
        wording.count(count, thing)
        for count, thing in ((seen.ranks, "rank"), (seen.hosts, "host"), (seen.communicators, "communicator"))
        if count
    ]
    kinds = " and ".join(kind.replace("_", " ") for kind in diagnosis.source)
    text = f"{name}{word}. Read {seen.records} records of {', '.join(what) or 'nobody'} ({kinds})."
    if seen.iteration_median is not None:
        text += f" {seen.iterations} iterations of {wording.seconds(seen.iteration_median * 1e9)}."
    return text


def _finding(finding: Finding) -> Iterator[str]:
    yield from _wrap(f"{finding.fault} ({finding.severity}): {_culprits(finding)}", "")
    yield from _wrap(finding.summary, "  ")
    for item in finding.evidence[:SHOWN]:
        yield from _wrap(item.text, "  - ")
    if (left := len(finding.evidence) - SHOWN) > 0:
        yield f"  - and {left} more"
    if finding.victims:
        yield from _wrap(f"Victims: {wording.ranks(finding.victims)}.", "  ")
    if finding.started_at:
        detected = f", detected {wording.clock(finding.detected_at)}" if finding.detected_at else ""
        ended = f", ended {wording.clock(finding.ended_at)}" if finding.ended_at else ""
        yield from _wrap(f"Since {wording.clock(finding.started_at)}{detected}{ended}.", "  ")
    action = ACTIONS[finding.advice.action]
    yield from _wrap(f"Advice: {action}; {finding.advice.why}. Confidence {finding.confidence:.0%}.", "  ")


def _culprits(finding: Finding) -> str:
    culprits = finding.culprits
    named = [wording.ranks(culprits.ranks)] if culprits.ranks else []
    named += [f"host {host}" for host in culprits.hosts]
    named += [f"{device.kind} {device.id} of {device.host}" for device in culprits.devices]
    for link in culprits.links:
        ends = (link.src_host or f"rank {link.src_rank}", link.dst_host or f"rank {link.dst_rank}")
        named.append(f"link {ends[0]} to {ends[1]}")
    return ", ".join(named) or "nobody can be named"


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=" " * len(indent), break_on_hyphens=False
    )
