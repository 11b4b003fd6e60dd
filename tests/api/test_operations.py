"""/livez, /readyz, /metrics, /version."""

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from offbeat.store import SchemaError, UnavailableError


@pytest.fixture
def anybody(service):
    """Give a client without a token: these calls are made by machines."""
    with service.client() as client:
        yield client


def broken(error):
    def ping():
        raise error

    return ping


def test_livez_never_asks_the_database(service, anybody, monkeypatch):
    """The process is alive while the database is away: a restart would not bring it back."""
    monkeypatch.setattr(service.store, "ping", broken(UnavailableError("gone")))
    assert anybody.get("/livez").json() == {"status": "ok"}
    assert anybody.head("/livez").status_code == 200


def test_readyz_says_which_part_is_missing(service, anybody, monkeypatch):
    """A service without database, schema or analyzer is not ready, and says which it is."""
    assert anybody.get("/readyz").json() == {
        "ready": True,
        "checks": {"database": "ok", "schema": "ok", "analyzer": "ok"},
    }
    service.alive = False
    answer = anybody.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["analyzer"]) == (503, "not running")
    assert anybody.head("/readyz").status_code == 503
    service.alive = True
    monkeypatch.setattr(service.store, "ping", broken(UnavailableError("at host=10.1.1.1 password=x")))
    answer = anybody.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["database"]) == (503, "does not answer")
    monkeypatch.setattr(service.store, "ping", broken(SchemaError("run 'offbeat db upgrade'")))
    answer = anybody.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["schema"]) == (503, "run 'offbeat db upgrade'")


def test_metrics_are_prometheus_text_or_open_metrics(anybody, viewer):
    """Both forms parse, and requests are counted by route, not by path."""
    viewer.get("/api/v1/jobs/some-job")
    text = anybody.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    routes = {sample.labels["route"] for sample in families["offbeat_api_requests"].samples}
    assert "/api/v1/jobs/{id}" in routes
    assert "some-job" not in text
    answer = anybody.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert "offbeat_api_requests" in {family.name for family in open_metrics(answer.text)}


def test_version_is_told(anybody):
    """Anybody may ask which version runs."""
    assert set(anybody.get("/version").json()) == {"version", "python"}
