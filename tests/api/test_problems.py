"""Whatever goes wrong is told as a problem document, and browsers are told to be careful."""

import json

import pytest


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/jobs/none", 404),
        ("GET", "/api/v1/incidents/none", 404),
        ("GET", "/api/v1/nodes/none", 404),
        ("GET", "/no-such-file.js", 404),
        ("PUT", "/api/v1/jobs", 405),
        ("GET", "/api/v1/jobs?limit=0", 422),
        ("GET", "/api/v1/jobs?cursor=nonsense", 400),
        ("GET", "/api/v1/incidents?cursor=nonsense", 400),
        ("GET", "/api/v1/incidents?state=asleep", 422),
        ("GET", "/api/v1/incidents?class=bad.luck", 422),
        ("GET", "/api/v1/jobs/x/beat?since=yesterday", 422),
    ],
)
def test_errors_are_problem_documents(admin, method, path, status):
    """Every error has the media type and the members of RFC 9457."""
    answer = admin.request(method, path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    content = answer.json()
    assert content["status"] == status
    assert content["title"]
    assert content["type"]


def test_validation_names_the_field(admin):
    """A wrong parameter is named with where it stands."""
    errors = admin.get("/api/v1/jobs?limit=0").json()["errors"]
    assert errors[0]["field"] == "query.limit"


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'{"role": 3}', b"\xff\xfe"])
def test_garbage_json_is_a_problem(admin, body):
    """A body that is no JSON, or not the expected one, is told as such."""
    answer = admin.post("/api/v1/tokens", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_large_json_body_is_refused(admin):
    """Bodies other than telemetry are small."""
    answer = admin.post("/api/v1/tokens", json={"role": "viewer", "note": "x" * 100_000})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_form_is_not_taken_for_json(admin):
    """What a foreign page's form can send is no request of ours."""
    answer = admin.post("/api/v1/tokens", content=b'{"role": "viewer"}', headers={"Content-Type": "text/plain"})
    assert answer.status_code == 422


def test_an_error_within_an_endpoint_leaks_nothing(service, admin, monkeypatch):
    """An unexpected error answers 500 with an id, and the service goes on."""

    def broken():
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(service.store.tokens, "list", broken)
    answer = admin.get("/api/v1/tokens")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.json()["id"]
    assert admin.get("/api/v1/jobs").status_code == 200


def test_answers_carry_security_headers(admin):
    """No answer can be framed, sniffed, cached or run as a page."""
    headers = admin.get("/api/v1/jobs").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers


def test_the_dashboard_is_served_with_a_strict_policy(service):
    """The page at / is the dashboard; its policy allows no inline script and no other origin."""
    with service.client() as client:
        answer = client.get("/")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert client.get("/../pyproject.toml").status_code == 404
        assert client.get("/%2e%2e/__init__.py").status_code == 404


def test_a_request_that_is_no_http_does_no_harm(service, viewer):
    """Garbage on the port ends that connection and nothing else."""
    with service.raw() as connection:
        connection.sendall(b"\x00\x01garbage\r\n\r\n")
        connection.shutdown(1)
        while connection.recv(1000):
            pass
    assert viewer.get("/api/v1/jobs").status_code == 200


def test_idempotency_keys_carry_a_request_out_once(admin, service):
    """The same POST with the same key makes one token; the second answer has no secret. Another request is refused."""
    body, headers = {"role": "viewer", "note": "once"}, {"Idempotency-Key": "k1"}
    first, second = (admin.post("/api/v1/tokens", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    assert first.json()["token"]
    assert second.json()["token"] is None
    assert len([row for row in service.store.tokens.list() if row.note == "once"]) == 1
    assert admin.post("/api/v1/tokens", json={"role": "operator"}, headers=headers).status_code == 409


def test_a_failed_request_gives_its_key_back(admin):
    """What had no effect may be sent again."""
    headers = {"Idempotency-Key": "k2"}
    for _ in range(2):
        assert admin.post("/api/v1/incidents/none/acknowledge", headers=headers).status_code == 404


def test_problem_documents_are_json(admin):
    """A problem is readable by any JSON parser."""
    assert json.loads(admin.get("/api/v1/nothing").content)["title"] == "Not Found"
