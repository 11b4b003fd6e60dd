"""What people said of incidents, and an incident's own changes."""

from dataclasses import replace

from findings import finding

from offbeat.model import FaultClass
from offbeat.store import Accuracy

T0 = 1_800_000_000_000_000_000
FINDING = finding(at=T0)


def test_of_an_incident_judged_twice_the_last_word_counts(store):
    """Accuracy counts incidents, not clicks, and only those that somebody judged."""
    ids = [store.incidents.apply(replace(FINDING, id=str(n)), T0).id for n in range(4)]
    other = store.incidents.apply(replace(FINDING, id="x", fault=FaultClass.LOST_HOST), T0).id
    assert store.incidents.accuracy() == ()
    for id_, right in ((ids[0], False), (ids[0], True), (ids[1], True), (ids[2], False), (other, False)):
        store.incidents.feedback(id_, right, "", "ann")
    assert store.incidents.accuracy() == (Accuracy("lost.host", 0, 1), Accuracy("slow.compute", 2, 1))


def test_an_incident_has_a_history_of_its_own(store):
    """Its changes come oldest first and without those of others; of many, the last."""
    first = store.incidents.apply(FINDING, T0)
    store.incidents.apply(replace(FINDING, id="other"), T0)
    store.incidents.apply(replace(FINDING, slowdown=2.0), T0 + 1)
    store.incidents.acknowledge(first.id, "ann")
    assert [event.kind for event in store.incidents.history(first.id)] == ["opened", "changed", "acknowledged"]
    assert [event.kind for event in store.incidents.history(first.id, limit=2)] == ["changed", "acknowledged"]
    assert store.incidents.history("none") == ()
