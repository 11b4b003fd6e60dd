"""/incidents: reading, and what people do about them."""

import time

import pytest
from findings import SECOND, finding

API = "/api/v1/incidents"


@pytest.fixture
def incident(service):
    """Give the id of an open incident."""
    return service.store.incidents.apply(finding(), time.time_ns()).id


def test_an_incident_embeds_its_finding(incident, viewer):
    """The body is an incident with the whole finding, evidence included."""
    found = viewer.get(f"{API}/{incident}").json()
    assert (found["id"], found["state"], found["class"]) == (incident, "open", "slow.compute")
    assert found["finding"]["culprits"]["ranks"] == [5]
    assert found["finding"]["evidence"][0]["data"] == {"rank": 5}


def test_incidents_are_filtered(service, viewer):
    """By job, by class, and by one state or several."""
    now = time.time_ns()
    for n in range(3):
        service.store.incidents.apply(finding(f"f{n}", job=f"job{n % 2}"), now + n)
    service.store.incidents.apply(finding("f0", job="job0", ended_at=now + SECOND), now + SECOND)

    def ids(**params):
        return [item["finding"]["id"] for item in viewer.get(API, params=params).json()["items"]]

    assert ids() == ["f2", "f1", "f0"]
    assert ids(job="job1") == ["f1"]
    assert ids(state="resolved") == ["f0"]
    assert ids(state=["open", "resolved"], job="job0") == ["f2", "f0"]
    assert ids(**{"class": "lost.host"}) == []


def test_incidents_come_in_pages(service, viewer):
    """Each incident is on exactly one page."""
    for n in range(5):
        service.store.incidents.apply(finding(f"f{n}"), time.time_ns())
    first = viewer.get(API, params={"limit": 3}).json()
    rest = viewer.get(API, params={"limit": 3, "cursor": first["next"]}).json()
    assert len({item["id"] for item in first["items"] + rest["items"]}) == 5
    assert rest["next"] is None


def test_an_incident_is_acknowledged_and_resolved(service, incident, operator):
    """Who did it is kept, and others are told."""
    with service.bus.subscribe("incidents") as told:
        assert operator.post(f"{API}/{incident}/acknowledge", json={}).json()["state"] == "acknowledged"
        done = operator.post(f"{API}/{incident}/resolve", json={"why": "replaced the fan"}).json()
        assert (done["state"], done["resolved_why"]) == ("resolved", "replaced the fan")
        assert done["acknowledged_by"] == done["resolved_by"]
        assert told.get(1) is not None
        assert told.get(1) is not None
    assert operator.post(f"{API}/{incident}/acknowledge").status_code == 409
    whats = {entry.what for entry in service.store.audit.list().items}
    assert {"incident.acknowledged", "incident.resolved"} <= whats


def test_a_judgement_is_kept(service, incident, operator):
    """Whether a finding was right is remembered beside it."""
    answer = operator.post(f"{API}/{incident}/feedback", json={"right": False, "note": "it was the switch"})
    assert answer.json()["right"] is False
    (said,) = service.store.incidents.feedbacks(incident)
    assert (said.right, said.note) == (False, "it was the switch")
    assert operator.post(f"{API}/{incident}/feedback", json={}).status_code == 422
    assert operator.post(f"{API}/none/feedback", json={"right": True}).status_code == 404
