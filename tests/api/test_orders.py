"""Orders to nodes: who may give, fetch and answer them, and the whole way to an agent and back."""

import threading
import time

import pyarrow as pa
import pytest
from support import wait_until

from offbeat import records
from offbeat.api import mailbox
from offbeat.api.mailbox import Mailbox
from offbeat.collector import orders as module
from offbeat.collector.orders import OrderLine
from offbeat.collector.templates import Templates
from offbeat.collector.uplink import connect
from offbeat.collector.urgency import Urgency
from offbeat.collector.window import Window

PATH = "/api/v1/agents/node0/orders"
DRILL = {
    "kind": "drill_down",
    "arguments": {"job": "train", "attempt": 1, "comm": "world@1", "from_seq": 2, "to_seq": 3},
}


@pytest.fixture
def agent(service):
    """Give the agent of node0."""
    with service.agent("node0") as client:
        yield client


def test_given_fetched_answered(operator, agent, viewer):
    """An order goes to its host, is answered once, and people see what became of it."""
    given = operator.post(PATH, json=DRILL)
    assert given.status_code == 201, given.text
    id_ = given.json()["id"]
    fetched = agent.get(PATH, params={"after": 0, "wait": 5}).json()["items"]
    assert [(order["id"], order["kind"], order["arguments"]) for order in fetched] == [
        (id_, "drill_down", DRILL["arguments"])
    ]
    assert agent.get(PATH, params={"after": id_, "wait": 0}).json()["items"] == []
    answer = {"state": "done", "result": {"rows": 2}}
    for _ in range(2):
        assert agent.post(f"{PATH}/{id_}/result", json=answer).json()["state"] == "done"
    assert agent.get(PATH, params={"after": 0, "wait": 0}).json()["items"] == []
    listed = viewer.get("/api/v1/nodes/node0/orders").json()["items"]
    assert [(order["state"], order["result"]) for order in listed] == [("done", {"rows": 2})]


def test_a_call_waits_for_an_order(operator, agent):
    """A waiting call is answered as soon as an order is given, and empty when its time is over."""
    started = time.monotonic()
    assert agent.get(PATH, params={"wait": 1}).json()["items"] == []
    assert time.monotonic() - started >= 1
    found = []
    thread = threading.Thread(target=lambda: found.append(agent.get(PATH, params={"wait": 15}).json()))
    thread.start()
    operator.post(PATH, json=DRILL)
    thread.join(10)
    assert len(found[0]["items"]) == 1


@pytest.mark.parametrize("role", ["viewer", "operator", "admin", "agent of node0", "agent of node1", "nobody"])
def test_roles(service, role):
    """Operators and administrators give orders; agents fetch and answer their own host's; viewers see them."""
    with service.client("admin") as admin:
        id_ = admin.post(PATH, json=DRILL).json()["id"]
    client = service.agent(role.split()[-1]) if role.startswith("agent") else service.client(role.replace("nobody", ""))
    may = {
        "give": {"operator", "admin"},
        "fetch": {"agent of node0", "admin"},
        "answer": {"agent of node0", "admin"},
        "see": {"viewer", "operator", "admin"},
    }
    with client:
        answers = {
            "give": client.post(PATH, json=DRILL),
            "see": client.get("/api/v1/nodes/node0/orders"),
            "fetch": client.get(PATH, params={"wait": 0}),
            "answer": client.post(f"{PATH}/{id_}/result", json={"state": "done"}),
        }
    for deed, answer in answers.items():
        if role in may[deed]:
            assert answer.is_success, (deed, answer.text)
        else:
            assert answer.status_code == (401 if role == "nobody" else 403), (deed, answer.text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "shell"}, "kind"),
        ({"arguments": {}}, "arguments.job"),
        ({"arguments": DRILL["arguments"] | {"command": "reboot"}}, "arguments.command"),
        ({"seconds": 0}, "seconds"),
    ],
)
def test_an_order_that_no_node_would_take(operator, change, words):
    """It is refused with the name of the field."""
    answer = operator.post(PATH, json=DRILL | change)
    assert answer.status_code == 422
    assert words in answer.text


def test_the_same_request_gives_one_order(operator, agent):
    """A POST that is repeated with its idempotency key gives one order."""
    ids = {operator.post(PATH, json=DRILL, headers={"Idempotency-Key": "k"}).json()["id"] for _ in range(2)}
    assert len(ids) == 1
    assert len(agent.get(PATH, params={"wait": 0}).json()["items"]) == 1


def test_too_many_orders(operator):
    """A host that does not fetch its orders is given no more of them: 429 with a reason."""
    answers = [operator.post(PATH, json=DRILL) for _ in range(33)]
    assert [answer.status_code for answer in answers] == [201] * 32 + [429]
    assert "node0" in answers[-1].json()["detail"]


def test_waiting_calls_share_one_question():
    """However many agents wait, the database is asked once in a while, and only for what is new."""
    asked, now = [], [0.0]
    answers = iter([{"a": 3}, {"b": 5}, {}])

    def ask(after):
        asked.append(after)
        return next(answers)

    box = Mailbox(ask, clock=lambda: now[0])
    assert [box.newest("a"), box.newest("b"), box.newest("a")] == [3, 0, 3]
    now[0] += mailbox.FRESH_SECONDS
    assert [box.newest("b"), box.newest("a")] == [5, 3]
    now[0] += mailbox.FRESH_SECONDS
    assert box.newest("c") == 0
    assert asked == [0, 3, 5]


def operations(seqs):
    """Return operations of one communicator."""
    count = len(seqs)
    columns = {"job": ["train"], "attempt": [1], "comm": ["world@1"], "rank": [0], "op": ["all_reduce"], "nbytes": [8]}
    return records.build("collectives", {name: values * count for name, values in columns.items()} | {"seq": seqs})


def test_all_the_way_to_a_node_and_back(service, operator, viewer, monkeypatch):
    """An agent gets what it was asked to do, does what its configuration allows, and says so; an outage is survived."""
    monkeypatch.setattr(module, "BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr(module, "WAIT_SECONDS", 1.0)
    window, urgency, sent = Window(1 << 20), Urgency(), []
    window.keep(operations([1, 2, 3, 4]), at=7)
    templates = Templates(["drill_down"], urgency, window, sent.append)
    line = OrderLine("node0", connect(service.url, service.token("agent", "node0")))
    failing = [3]

    def away(*_):
        if failing[0]:
            failing[0] -= 1
            raise RuntimeError("away")
        return Mailbox.newest(service.state.mailbox, "node0")

    service.state.mailbox.newest = away
    line.start()
    bounds = {"kind": "bounds", "arguments": {"job": "train", "attempt": 1, "otherwise": 5}}
    ids = [operator.post(PATH, json=body).json()["id"] for body in (DRILL, bounds)]

    def obey():
        for order in line.take():
            line.answer(order, *templates.carry_out(order))
        found = viewer.get("/api/v1/nodes/node0/orders").json()["items"]
        return {order["id"]: order for order in found} if all(order["finished_at"] for order in found) else None

    found = wait_until(obey)
    line.stop()
    assert failing == [0]
    assert (found[ids[0]]["state"], found[ids[0]]["result"]) == ("done", {"rows": 2, "kept_from": 7})
    assert found[ids[1]]["state"] == "refused"
    assert pa.concat_tables([tables["collectives"] for tables in sent]).column("seq").to_pylist() == [2, 3]
