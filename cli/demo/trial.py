"""One fault after the other on one job: make it, wait for the finding, take it back, wait for health."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from offbeat.cli.demo.hosts import BedError
from offbeat.cli.demo.judge import judge
from offbeat.cli.demo.report import Outcome, show_finding
from offbeat.cli.demo.watch import POLL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.cli.demo.faults import Fault
    from offbeat.cli.demo.job import Job
    from offbeat.cli.demo.judge import Sighting
    from offbeat.cli.demo.report import Screen
    from offbeat.cli.demo.service import Service
    from offbeat.cli.demo.watch import Watch

LEARN_SECONDS = 60.0
"""How long the service may take to learn the beat."""
NAME_SECONDS = 20.0
"""How long a finding may take before it counts as not made."""
HEAL_SECONDS = 30.0
"""How long incidents may stay open after their fault is gone."""
SETTLE_SECONDS = 2.0
"""How long a fault goes on once it is named; a second, wrong name would come in this time."""
QUIET_SECONDS = 4.0
"""How long the healthy job is watched before each fault, and a dead one after its end."""


class TrialError(Exception):
    """The trial cannot go on: the job died of something else, or the service never learned its beat."""


class Trial:
    """What happens to *job*, and what *watch* sees of it."""

    def __init__(self, screen: Screen, job: Job, watch: Watch, service: Service) -> None:
        self.outcomes: list[Outcome] = []
        self.alarms: list[Sighting] = []
        self._screen, self._job, self._watch, self._service = screen, job, watch, service
        self._healthy_since = time.time()

    def learn(self) -> None:
        """Wait until the service knows the job's beat.

        Raises:
            TrialError: It does not in `LEARN_SECONDS`, or the job dies.
        """
        if not self._until(lambda: self._watch.state() == "running" or bool(self._job.dead()), LEARN_SECONDS):
            raise TrialError(f"the beat was not learned in {LEARN_SECONDS:g} s; the job is {self._watch.state()!r}")

    def inflict(self, fault: Fault) -> None:
        """Make *fault*, see what is said about it, take it back.

        Raises:
            TrialError: The job died of something else.
        """
        self._screen.stage("watching the healthy job")
        self._look_for(QUIET_SECONDS)
        self._note_alarms()
        if dead := self._job.dead():
            raise TrialError(f"rank {dead[0]} died by itself:\n{self._job.ranks[dead[0]].tail()}")
        usual = self._job.step_seconds(time.monotonic() - QUIET_SECONDS)
        at, monotonic = time.time(), time.monotonic()
        try:
            try:
                self._screen.done(fault.apply())
            except BedError as error:
                self._note(Outcome(fault, at, None, str(error)))
                return
            self._screen.stage(f"{fault.title}: waiting for the finding")
            named = self._until(lambda: judge(fault.expected, self._watch.since(at)).right is not None, NAME_SECONDS)
            self._look_for(QUIET_SECONDS if fault.terminal else SETTLE_SECONDS)
            effect = _effect(usual, self._job.step_seconds(monotonic + 1.0))
        finally:
            fault.undo()
        self._show(fault, at)
        self._screen.stage(f"{fault.title}: taken back, waiting for health")
        healed = fault.terminal or self._until(self._healthy, HEAL_SECONDS)
        self._healthy_since = time.time()
        note = "" if named else f"no right finding in {NAME_SECONDS:g} s; {effect}"
        note += "" if healed else f" still not healthy {HEAL_SECONDS:g} s after it was taken back"
        self._note(Outcome(fault, at, judge(fault.expected, self._watch.since(at)), note.strip()))

    def _show(self, fault: Fault, at: float) -> None:
        verdict = judge(fault.expected, self._watch.since(at))
        for sighting in (*([verdict.right] if verdict.right else ()), *verdict.wrong):
            title = f"named after {sighting.first_seen - at:.1f} s"
            show_finding(self._screen.console, sighting, title, right=sighting is verdict.right)

    def _note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._screen.step()
        if outcome.note:
            self._screen.remark(f"{outcome.fault.title}: {outcome.note}")

    def _note_alarms(self) -> None:
        """Count what was said since the job was healthy."""
        for sighting in judge(None, self._watch.since(self._healthy_since)).wrong:
            self.alarms.append(sighting)
            show_finding(self._screen.console, sighting, "named while nothing was wrong", right=False)

    def _healthy(self) -> bool:
        return self._watch.state() == "running" and all(sighting.over for sighting in self._watch.look())

    def _look_for(self, seconds: float) -> None:
        """Keep looking for *seconds*, so that no name is missed that is taken back."""
        self._until(lambda: False, seconds)

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Look every `POLL_SECONDS` until *condition* holds or *seconds* are over; return whether it held."""
        deadline = time.monotonic() + seconds
        while True:
            self._watch.look()
            self._service.check()
            if condition():
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)


def _effect(usual: float | None, now: float | None) -> str:
    """Return what the fault did to the job, by the job's own account."""
    if usual is None:
        return "the job was not stepping before"
    if now is None:
        return "the job stood still"
    return f"steps took {usual * 1000:.0f} ms before and {now * 1000:.0f} ms with it"
