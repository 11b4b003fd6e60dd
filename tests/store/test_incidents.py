"""Incidents: findings with a life."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from offbeat.model import Action, Advice, Culprits, Evidence, FaultClass, Finding, IncidentState, Link, Severity
from offbeat.store import CursorError, NotFoundError, StateError

T0 = 1_800_000_000_000_000_000
FINDING = Finding(
    id="slow.compute:3",
    fault=FaultClass.SLOW_COMPUTE,
    severity=Severity.CRITICAL,
    summary="rank 3 is slow",
    advice=Advice(Action.INSPECT, "look at it"),
    culprits=Culprits(ranks=(3,), hosts=("node1",), links=(Link(3, 4),)),
    evidence=(Evidence("own", "own time grew", {"ratio": 1.5}),),
    slowdown=1.5,
    detected_at=T0,
    job="train",
    attempt=1,
)


def kinds(store):
    """Return the kinds of all events."""
    return [event.kind for event in store.incidents.events_since(0)]


def test_a_finding_opens_an_incident_once(store):
    """The same finding again is no news."""
    incident = store.incidents.apply(FINDING, T0 + 5)
    assert (incident.state, incident.revision, incident.opened_at, incident.detected_at) == ("open", 1, T0 + 5, T0)
    assert incident.finding == FINDING
    assert store.incidents.apply(FINDING, T0 + 6) is None
    assert store.incidents.get(incident.id) == incident
    assert kinds(store) == ["opened"]


def test_jobs_and_attempts_have_incidents_of_their_own(store):
    """The same finding id in another attempt or job is another incident."""
    findings = [FINDING, replace(FINDING, attempt=2), replace(FINDING, job="other"), replace(FINDING, id="x")]
    assert len({store.incidents.apply(finding, T0).id for finding in findings}) == 4


def test_what_changes_is_written_with_a_new_revision(store):
    """A finding that grew changes its incident and tells so."""
    first = store.incidents.apply(FINDING, T0)
    worse = replace(FINDING, slowdown=2.0, victims=(4, 5))
    second = store.incidents.apply(worse, T0 + 9)
    assert (second.id, second.revision, second.updated_at, second.opened_at) == (first.id, 2, T0 + 9, T0)
    assert second.finding == worse
    assert kinds(store) == ["opened", "changed"]


def test_a_finding_that_ended_resolves_its_incident(store):
    """Ended by itself: resolved at the finding's end, by nobody."""
    store.incidents.apply(FINDING, T0)
    ended = store.incidents.apply(FINDING.ended(T0 + 50), T0 + 60)
    assert (ended.state, ended.ended_at, ended.resolved_by, ended.revision) == ("resolved", T0 + 50, None, 2)
    assert kinds(store) == ["opened", "resolved"]
    assert store.incidents.apply(FINDING.ended(T0 + 50), T0 + 61) is None


def test_a_finding_that_ends_during_recovery_recovered(store):
    """The same end, after somebody set out to recover, is a recovery."""
    incident = store.incidents.apply(FINDING, T0)
    store.incidents.move(incident.id, IncidentState.RECOVERING, "conductor")
    assert store.incidents.apply(FINDING.ended(T0 + 50), T0 + 60).state == "recovered"


def test_a_finding_first_told_when_over_leaves_a_whole_history(store):
    """Opened and resolved both happened, and both are told."""
    incident = store.incidents.apply(FINDING.ended(T0 + 50), T0 + 60)
    assert (incident.state, incident.revision) == ("resolved", 2)
    assert kinds(store) == ["opened", "resolved"]


def test_detected_anew_after_its_end_it_is_a_new_incident(store):
    """The old incident stays closed; the new one names it."""
    first = store.incidents.apply(FINDING, T0)
    store.incidents.apply(FINDING.ended(T0 + 50), T0 + 60)
    again = replace(FINDING, detected_at=T0 + 70)
    second = store.incidents.apply(again, T0 + 80)
    assert second.id == f"{first.id}-2"
    assert (second.reopens, second.state, second.revision) == (first.id, "open", 1)
    store.incidents.apply(again.ended(T0 + 90), T0 + 91)
    third = store.incidents.apply(replace(FINDING, detected_at=T0 + 100), T0 + 110)
    assert (third.id, third.reopens) == (f"{first.id}-3", second.id)
    assert store.incidents.get(first.id).state == "resolved"


def test_what_a_person_resolved_stays_resolved_while_the_same_finding_goes_on(store, clock):
    """The finding is kept up to date, and its incident stays closed."""
    incident = store.incidents.apply(FINDING, clock.now - 5)
    assert store.incidents.resolve(incident.id, "ann", "known").state == "resolved"
    changed = store.incidents.apply(replace(FINDING, slowdown=3.0, detected_at=clock.now - 6), clock.now + 5)
    assert (changed.id, changed.state, changed.finding.slowdown) == (incident.id, "resolved", 3.0)
    ended = store.incidents.apply(replace(FINDING, detected_at=clock.now - 6).ended(clock.now + 9), clock.now + 9)
    assert (ended.state, ended.ended_at, ended.resolved_by) == ("resolved", clock.now, "ann")
    assert kinds(store) == ["opened", "resolved", "changed", "changed"]


def test_people_acknowledge_and_resolve(store, clock):
    """Who and when is kept, and written to the audit log; the first of several counts."""
    incident = store.incidents.apply(FINDING, T0)
    clock.tick(1)
    taken = store.incidents.acknowledge(incident.id, "ann")
    assert (taken.state, taken.acknowledged_by, taken.acknowledged_at) == ("acknowledged", "ann", clock.now)
    assert store.incidents.acknowledge(incident.id, "bob") == taken
    done = store.incidents.resolve(incident.id, "bob", "replaced the fan")
    assert (done.state, done.resolved_by, done.resolved_why, done.ended_at) == (
        "resolved",
        "bob",
        "replaced the fan",
        clock.now,
    )
    assert store.incidents.resolve(incident.id, "ann") == done
    assert [(row.who, row.what) for row in store.audit.list().items] == [
        ("bob", "incident.resolved"),
        ("ann", "incident.acknowledged"),
    ]


def test_there_is_no_way_back_from_the_end(store):
    """A closed incident cannot be acknowledged or recovered; an unknown one nothing at all."""
    incident = store.incidents.apply(FINDING, T0)
    store.incidents.resolve(incident.id, "ann")
    for state in (IncidentState.ACKNOWLEDGED, IncidentState.RECOVERING):
        with pytest.raises(StateError, match="is resolved"):
            store.incidents.move(incident.id, state, "ann")
    with pytest.raises(StateError):
        store.incidents.move(incident.id, IncidentState.OPEN, "ann")
    with pytest.raises(NotFoundError):
        store.incidents.acknowledge("nothing", "ann")
    with pytest.raises(NotFoundError):
        store.incidents.feedback("nothing", True, "", "ann")


def test_lists_are_filtered_and_come_in_pages(store):
    """The last opened first, also among those opened at the same time; every incident on exactly one page."""
    for number in range(10):
        fault = FaultClass.LOST_RANK if number % 2 else FaultClass.SLOW_COMPUTE
        finding = replace(FINDING, id=str(number), job=f"job{number % 3}", fault=fault)
        store.incidents.apply(finding, T0 + number // 4)
    found, cursor = [], None
    while True:
        page = store.incidents.list(limit=3, cursor=cursor)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    assert len({incident.id for incident in found}) == 10
    assert [incident.opened_at for incident in found] == sorted((T0 + n // 4 for n in range(10)), reverse=True)
    assert len(store.incidents.list(job="job0").items) == 4
    assert len(store.incidents.list(class_="lost.rank").items) == 5
    store.incidents.resolve(found[0].id, "ann")
    assert [row.id for row in store.incidents.list(state=IncidentState.RESOLVED).items] == [found[0].id]
    assert len(store.incidents.list(state=[IncidentState.OPEN, IncidentState.RESOLVED]).items) == 10
    assert sum(store.incidents.open_counts().values()) == 9


@pytest.mark.parametrize("cursor", ["", "x", "12", "12-", "-12-a", "\uff19-a", "9" * 30 + "-a"])
def test_a_cursor_from_elsewhere_is_refused(store, cursor):
    """Nonsense is an error of the caller's, not of the database."""
    with pytest.raises(CursorError):
        store.incidents.list(cursor=cursor)


def test_feedback_is_kept(store, clock):
    """What people say of a finding stays with its incident."""
    incident = store.incidents.apply(FINDING, T0)
    said = store.incidents.feedback(incident.id, False, "it was\0 the network", "ann")
    assert (said.right, said.note, said.at) == (False, "it was the network", clock.now)
    assert store.incidents.feedbacks(incident.id) == (said,)


def test_the_event_stream_resumes_after_a_cursor(store):
    """A reader who was away gets what it missed, in order, as it was then."""
    incident = store.incidents.apply(FINDING, T0)
    cursor = store.incidents.last_event()
    store.incidents.acknowledge(incident.id, "ann")
    store.incidents.resolve(incident.id, "ann")
    events = store.incidents.events_since(cursor)
    assert [(event.seq, event.kind) for event in events] == [(cursor + 1, "acknowledged"), (cursor + 2, "resolved")]
    assert events[0].incident["state"] == "acknowledged"
    assert events[0].incident["finding"]["id"] == FINDING.id
    assert store.incidents.events_since(0, limit=1)[0].kind == "opened"
    assert store.incidents.events_since(cursor + 2) == ()


def test_events_appear_in_the_order_of_their_numbers(store):
    """A reader that follows while several threads write never passes a number that comes later."""
    seen, done = [], threading.Event()

    def follow():
        while not done.is_set() or store.incidents.last_event() > len(seen):
            seen.extend(event.seq for event in store.incidents.events_since(seen[-1] if seen else 0))

    def write(thread):
        for number in range(8):
            store.incidents.apply(replace(FINDING, id=f"{thread}.{number}"), T0)

    reader = threading.Thread(target=follow)
    writers = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert seen == list(range(1, 33))


def test_findings_may_carry_what_json_cannot(store):
    """Numbers of numpy, NaN and null characters are made storable; the rest comes back as it was."""
    data = {"a": np.float32(1.5), "b": float("nan"), "c": np.array([1, 2]), 4: ("x\0y", None), "d": np.int64(7)}
    finding = replace(FINDING, slowdown=float("inf"), evidence=(Evidence("kind", "text\0", data),))
    incident = store.incidents.apply(finding, T0)
    assert incident.finding.slowdown is None
    assert incident.finding.evidence == (
        Evidence("kind", "text", {"a": 1.5, "b": None, "c": [1, 2], "4": ["xy", None], "d": 7}),
    )
    assert store.incidents.get(incident.id) == incident
    assert store.incidents.apply(finding, T0 + 1) is None


def test_old_events_are_forgotten_and_incidents_are_not(store):
    """Expiry takes the stream's past; the incident and the numbering stay."""
    incident = store.incidents.apply(FINDING, T0)
    store.incidents.expire(T0 + 1)
    assert store.incidents.events_since(0) == ()
    assert store.incidents.last_event() == 1
    assert store.incidents.get(incident.id) == incident
