"""Who may do what, by token and by cookie."""

import httpx2
import pytest

from offbeat.api.limits import FailureLimit
from offbeat.api.sessions import CODE_SECONDS, SESSION_SECONDS, Sessions
from offbeat.store import Principal, Role

API = "/api/v1"


@pytest.mark.parametrize(
    ("role", "method", "path", "status"),
    [
        (None, "GET", "/jobs", 401),
        (None, "GET", "/incidents/stream", 401),
        (None, "GET", "/session", 401),
        ("viewer", "GET", "/jobs", 200),
        ("viewer", "GET", "/tokens", 403),
        ("viewer", "POST", "/incidents/x/acknowledge", 403),
        ("operator", "POST", "/incidents/x/acknowledge", 404),
        ("operator", "POST", "/tokens", 403),
        ("operator", "GET", "/webhooks", 403),
        ("admin", "GET", "/tokens", 200),
        ("admin", "GET", "/jobs", 200),
        ("admin", "POST", "/incidents/x/acknowledge", 404),
    ],
)
def test_each_role_includes_the_one_before(service, role, method, path, status):
    """Viewers read, operators act on incidents, administrators let people in; nothing is open without a token."""
    with service.client(role) as client:
        assert (
            client.request(method, API + path, json={"role": "viewer"} if method == "POST" else None).status_code
            == status
        )


def log_in(service, **secret):
    client = service.client()
    return client, client.post(f"{API}/session", json=secret)


def test_a_token_opens_a_session_for_a_browser(service):
    """Logging in with a token gives a cookie that scripts and other sites cannot use."""
    client, answer = log_in(service, token=service.token("operator"))
    assert answer.json()["role"] == "operator"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert client.get(f"{API}/session").json()["role"] == "operator"
    assert client.get(f"{API}/jobs").status_code == 200


def test_a_cookie_alone_changes_nothing(service):
    """A call by cookie that changes something needs the header that a foreign page cannot send."""
    client, _ = log_in(service, token=service.token("admin"))
    body = {"role": "viewer"}
    assert client.post(f"{API}/tokens", json=body).status_code == 403
    assert client.post(f"{API}/tokens", json=body, headers={"Offbeat-Request": "1"}).status_code == 201


def test_logging_out_ends_the_session(service):
    """After logging out the cookie is worth nothing, even where it was copied."""
    client, _ = log_in(service, token=service.token("viewer"))
    copy = dict(client.cookies)
    assert client.delete(f"{API}/session").status_code == 204
    with httpx2.Client(base_url=service.url, cookies=copy, trust_env=False) as other:
        assert other.get(f"{API}/jobs").status_code == 401


def test_revoking_a_token_ends_its_sessions(service, admin):
    """Who logged in with a token that is revoked is logged out."""
    text, row = service.store.tokens.create(Role.VIEWER)
    client, _ = log_in(service, token=text)
    assert client.get(f"{API}/jobs").status_code == 200
    assert admin.delete(f"{API}/tokens/{row.id}").status_code == 204
    assert client.get(f"{API}/jobs").status_code == 401


def test_a_code_logs_in_once(service):
    """The one-time code of the printed address works once."""
    code = service.state.sessions.code(Principal("t", Role.ADMIN))
    assert log_in(service, code=code)[1].json()["role"] == "admin"
    assert log_in(service, code=code)[1].status_code == 401


def test_an_agents_token_logs_nobody_in(service):
    """A node's token does not open the dashboard."""
    assert log_in(service, token=service.token("agent", "node0"))[1].status_code == 403


def test_failed_log_ins_are_limited(service):
    """Guessing is answered 429 after a few tries; a valid token still passes."""
    with service.client() as client:
        statuses = [client.post(f"{API}/session", json={"code": "guess"}).status_code for _ in range(14)]
        assert statuses[:10] == [401] * 10
        assert statuses[-1] == 429
        assert int(client.post(f"{API}/session", json={"code": "guess"}).headers["retry-after"]) >= 1
    with service.client("viewer") as known:
        assert known.get(f"{API}/jobs").status_code == 200


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_sessions_and_codes_end(service):
    """Both end by time; a session that is used lives on."""
    clock = Clock()
    sessions = Sessions(clock)
    code, cookie = sessions.code(Principal("t", Role.VIEWER)), sessions.open(Principal("t", Role.VIEWER))
    clock.now = CODE_SECONDS + 1
    assert sessions.redeem(code) is None
    clock.now = SESSION_SECONDS - 1
    assert sessions.find(cookie)
    clock.now = 2 * SESSION_SECONDS - 2
    assert sessions.find(cookie)
    clock.now = 4 * SESSION_SECONDS
    assert sessions.find(cookie) is None


def test_failures_are_forgiven_with_time():
    """Each client has its own count, which refills."""
    clock = Clock()
    limit = FailureLimit(clock)
    assert [limit.failed("a") for _ in range(FailureLimit.BURST)] == [0.0] * FailureLimit.BURST
    assert limit.failed("a") > 0
    assert limit.failed("b") == 0
    clock.now += FailureLimit.REFILL_SECONDS * 3
    assert limit.failed("a") == 0


def test_tokens_are_made_listed_and_revoked(admin, service):
    """A token is shown once; the list says who has which role."""
    made = admin.post(f"{API}/tokens", json={"role": "agent", "host": "node7", "note": "rack 3"})
    assert made.status_code == 201
    token = made.json()
    assert service.store.tokens.verify(token["token"]).host == "node7"
    listed = next(item for item in admin.get(f"{API}/tokens").json()["items"] if item["id"] == token["id"])
    assert "token" not in listed
    assert listed["note"] == "rack 3"
    assert admin.delete(f"{API}/tokens/{token['id']}").status_code == 204
    assert service.store.tokens.verify(token["token"]) is None
    assert admin.delete(f"{API}/tokens/nobody").status_code == 404


@pytest.mark.parametrize(
    "body", [{"role": "agent"}, {"role": "viewer", "host": "a"}, {"role": "king"}, {}, {"role": "agent", "host": "a/b"}]
)
def test_a_token_that_makes_no_sense_is_refused(admin, body):
    """An agent's token names its host, no other does."""
    answer = admin.post(f"{API}/tokens", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith("body")
