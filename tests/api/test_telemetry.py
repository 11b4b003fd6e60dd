"""POST /telemetry: what is taken, what is refused, and that nothing is lost or told twice."""

import json
import time

import httpx2
import pyarrow as pa
import pytest
from findings import batch

from offbeat import metrics, records, wire
from offbeat.store import UnavailableError

PATH = "/api/v1/telemetry"


def post(client, body, *, host="node0", incarnation=1, n=1, header=None):
    return client.post(PATH, content=body, headers={"Offbeat-Batch": header or f"{host}/{incarnation}/{n}"})


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    content = answer.json()
    assert content["status"] == status
    return content


@pytest.fixture
def agent(service):
    """Give the agent of node0."""
    with service.agent("node0") as client:
        yield client


def test_a_batch_becomes_durable_and_is_published_once(service, agent):
    """An accepted batch can be read from the store and reaches the bus once, however often it is sent."""
    with service.bus.subscribe("telemetry") as subscription:
        body = batch()
        first, second = post(agent, body), post(agent, body)
        assert (first.status_code, first.json()) == (202, {"durable": 1, "duplicate": False})
        assert (second.status_code, second.json()) == (202, {"durable": 1, "duplicate": True})
        message = subscription.get(1)
        assert message["host"] == "node0"
        assert message["tables"]["gauges"].num_rows == 3
        assert subscription.get(0.2) is None
    assert service.store.telemetry.read("gauges", job="train").num_rows == 3


def test_durable_is_contiguous(agent):
    """Batches that overtake one another are not called durable before the gap is filled."""
    assert post(agent, batch(), n=2).json()["durable"] == 0
    assert post(agent, batch(), n=1).json()["durable"] == 2


def test_an_empty_batch_is_a_batch(agent):
    """An agent that had to drop a batch sends it empty, so that the count goes on."""
    assert post(agent, wire.encode({})).json() == {"durable": 1, "duplicate": False}


def test_a_heartbeat_makes_a_node(service, agent, viewer):
    """Hosts that report are listed with the ranks they run."""
    post(agent, batch())
    assert viewer.get("/api/v1/nodes").json()["items"][0]["jobs"] == {"train": [0, 1]}
    assert viewer.get("/api/v1/nodes/node0").json()["addresses"] == ["10.0.0.1"]


def _not_arrow():
    return pa.Codec("zstd").compress(b"x" * 1000, asbytes=True)


def _wrong_schema():
    table = pa.table({"at": pa.array(["yesterday"])}).replace_schema_metadata({"table": "gauges"})
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _endless_name():
    return wire.encode(
        {
            "gauges": records.build(
                "gauges", {"at": [1], "host": ["node0"], "metric": ["m"], "value": [1.0], "job": ["x" * 256]}
            )
        }
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "zstd"),
        (b"garbage, not a frame", "zstd"),
        (batch()[:-20], ""),
        (_not_arrow(), "Arrow"),
        (_wrong_schema(), "gauges."),
        (_endless_name(), "255"),
    ],
    ids=["empty", "garbage", "truncated", "not arrow", "wrong schema", "name without end"],
)
def test_unreadable_batches_are_bad_requests(service, agent, body, words):
    """What cannot be read is refused for good, with the reason, and stores nothing."""
    content = problem(post(agent, body), 400)
    assert content["type"] == "urn:offbeat:problem:bad-batch"
    assert words in content["detail"]
    assert service.store.telemetry.read("gauges").num_rows == 0


def test_the_problem_names_table_and_field(agent):
    """A batch of the wrong schema says which column of which table."""
    assert "gauges.at" in problem(post(agent, _wrong_schema()), 400)["detail"]


def test_a_bomb_is_too_large(agent):
    """A small body that expands beyond the limit is refused before it fills the memory."""
    bomb = pa.Codec("zstd").compress(bytes(wire.MAX_PLAIN + 1), asbytes=True)
    assert len(bomb) < 1 << 20
    problem(post(agent, bomb), 413)


def test_an_oversized_body_is_too_large(agent):
    """A body above the limit is refused, and the client can read why."""
    content = problem(post(agent, bytes(wire.MAX_BODY + 1)), 413)
    assert content["limit"] == wire.MAX_BODY


def test_an_oversized_body_of_unknown_length_is_too_large(agent):
    """Bytes are counted as they come, whatever a header says."""

    def chunks():
        for _ in range(10):
            yield bytes(1 << 20)

    problem(agent.post(PATH, content=chunks(), headers={"Offbeat-Batch": "node0/1/1"}), 413)


@pytest.mark.parametrize(
    "header",
    [
        "x",
        "node0",
        "node0/1",
        "node0/x/1",
        "node0/1/0",
        "/1/1",
        "node0/1/-1",
        "a b/1/1",
        "node0/1/99999999999999999999",
    ],
)
def test_a_wrong_batch_header_is_a_bad_request(agent, header):
    """The batch's name must read host/incarnation/n."""
    problem(post(agent, batch(), header=header), 400)


def test_without_the_batch_header_the_field_is_named(agent):
    """A missing header is a validation error that says which."""
    content = problem(agent.post(PATH, content=batch()), 422)
    assert content["errors"][0]["field"] == "header.offbeat-batch"


def test_no_token_and_wrong_tokens_are_unauthorized(service):
    """Nothing is taken from nobody."""
    for headers in (
        {},
        {"Authorization": "Bearer obt_000000000000_" + "x" * 43},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic eDp5"},
    ):
        with httpx2.Client(base_url=service.url, headers=headers, trust_env=False) as client:
            answer = post(client, batch())
            problem(answer, 401)
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_refused_token_is_told_even_when_the_body_is_large(service):
    """The answer 401 arrives although the body was not wanted."""
    with service.client() as client:
        problem(post(client, bytes(6 << 20)), 401)


def test_a_revoked_token_is_refused(service, agent, admin):
    """Revoking ends an agent's access at once."""
    token = next(item for item in admin.get("/api/v1/tokens").json()["items"] if item["host"] == "node0")
    assert admin.delete(f"/api/v1/tokens/{token['id']}").status_code == 204
    problem(post(agent, batch()), 401)


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_readers_may_not_write(service, role):
    """Telemetry needs an agent's token."""
    with service.client(role) as client:
        problem(post(client, batch()), 403)


def test_an_agent_may_not_read(agent):
    """An agent's token opens nothing but the way in."""
    for path in ("/api/v1/jobs", "/api/v1/incidents", "/api/v1/tokens", "/api/v1/incidents/stream"):
        problem(agent.get(path), 403)


def test_an_agent_speaks_for_its_host_only(service, agent):
    """Neither the batch's name nor its rows may name another host."""
    before = _count("foreign_host")
    assert "node1" in problem(post(agent, batch("node1"), host="node1"), 403)["detail"]
    assert "heartbeats.host" in problem(post(agent, batch("node0", row_host="node1")), 403)["detail"]
    assert service.store.telemetry.read("gauges").num_rows == 0
    assert _count("foreign_host") == before + 2


def test_two_agents_cannot_share_a_host_name(service, agent, viewer):
    """The later started agent is heard; the other is told that the name is taken, and people can see both."""
    older, newer = time.time_ns() - 60 * 10**9, time.time_ns() - 30 * 10**9
    assert post(agent, batch(), incarnation=older).status_code == 202
    assert post(agent, batch(), incarnation=newer).status_code == 202
    content = problem(post(agent, batch(), incarnation=older, n=2), 409)
    assert content["type"] == "urn:offbeat:problem:host-claimed"
    conflict = viewer.get("/api/v1/nodes/node0").json()["conflict"]
    assert (conflict["taken"], conflict["refused"]) == (newer, older)


def test_a_busy_store_asks_for_another_try(service, agent, monkeypatch):
    """What the disk does not take now is neither lost nor accepted: 503 with Retry-After, and no word of the reason."""

    def full(*_, **__):
        raise UnavailableError("database: disk full at /secret/place")

    monkeypatch.setattr(service.store.telemetry, "accept", full)
    answer = post(agent, batch())
    assert "secret" not in json.dumps(problem(answer, 503))
    assert int(answer.headers["retry-after"]) > 0
    monkeypatch.undo()
    assert post(agent, batch()).status_code == 202


def test_too_many_batches_at_once_are_asked_to_wait(service, agent):
    """Beyond the bound a batch is not read at all: 429 with Retry-After."""
    service.state.batches.taken = service.state.batches.places
    answer = post(agent, batch())
    problem(answer, 429)
    assert int(answer.headers["retry-after"]) > 0
    service.state.batches.taken = 0
    assert post(agent, batch()).status_code == 202


def test_an_unexpected_error_shows_nothing_but_an_id(service, agent, monkeypatch):
    """Internals stay in the log; the answer carries the id to find them by."""

    def broken(*_):
        raise RuntimeError("secret internals")

    monkeypatch.setattr(service.store.telemetry, "accept", broken)
    content = problem(post(agent, batch()), 500)
    assert "secret" not in json.dumps(content)
    assert content["id"] in content["detail"]


def _count(outcome):
    return metrics.counter("offbeat_telemetry_batches_total").labels(outcome)._value.get()
