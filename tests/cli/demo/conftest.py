"""What the demo's tests share: a finding as the API gives it."""

import pytest


@pytest.fixture
def finding():
    """Return a maker of findings in the form of `offbeat.diagnosis/1`."""

    def make(class_="slow.compute", *, ranks=(), hosts=(), links=(), severity="warning", caused_by=None, id_="f"):
        links = [{"src_rank": None, "dst_rank": None, "src_host": None, "dst_host": None, **link} for link in links]
        return {
            "id": id_,
            "class": class_,
            "severity": severity,
            "culprits": {"ranks": list(ranks), "hosts": list(hosts), "links": links, "devices": []},
            "slowdown": 1.5,
            "summary": "one sentence",
            "advice": {"action": "inspect", "why": "a reason"},
            "evidence": [{"kind": "own_time", "text": "a figure", "data": {}}],
            "victims": {"ranks": []},
            "caused_by": caused_by,
        }

    return make
