"""What orders make a node do: what its configuration allows, within bounds, and nothing that harms the agent."""

import pytest

from offbeat import records
from offbeat.collector.orders import Order
from offbeat.collector.templates import MINUTE, Templates
from offbeat.collector.urgency import Urgency
from offbeat.collector.window import Window
from offbeat.orders import Bounds, DrillDown

SECOND = 1_000_000_000
BOUNDS = {"job": "train", "attempt": 1, "otherwise": 20.0, "communicators": {"fast": 4.0}}
DRILL = {"job": "train", "attempt": 1, "comm": "fast", "from_seq": 1, "to_seq": 9}


def operations(*ages, comm="fast", ended=False):
    """Return operations of these ages (seconds), seen now, with sequence numbers from 1."""
    count, now = len(ages), 1_000 * SECOND
    return records.build(
        "collectives",
        {
            "job": ["train"] * count,
            "attempt": [1] * count,
            "comm": [comm] * count,
            "rank": [0] * count,
            "seq": list(range(1, count + 1)),
            "op": ["all_reduce"] * count,
            "nbytes": [8] * count,
            "enqueued_at": [now - int(age * SECOND) for age in ages],
            "ended_at": [now if ended else None] * count,
            "observed_at": [now] * count,
        },
    )


def made(allowed=("bounds", "drill_down"), **more):
    """Return templates with what they work on."""
    urgency, window, sent = Urgency(), Window(more.pop("window", 1 << 20)), []
    return Templates(allowed, urgency, window, more.pop("send", sent.append), **more), urgency, window, sent


def test_bounds_make_long_operations_urgent():
    """Past half of its bound an operation in flight is urgent; unlearned ones after a second and a half."""
    templates, urgency, _, _ = made()
    assert urgency.urgent(operations(1.6))
    assert not urgency.urgent(operations(1.4))
    assert templates.carry_out(Order(1, "bounds", BOUNDS)) == ("done", {"communicators": 1})
    assert not urgency.urgent(operations(1.9))
    assert urgency.urgent(operations(0.1, 2.0))
    assert not urgency.urgent(operations(2.5, ended=True))
    assert not urgency.urgent(operations(9.0, comm="other"))
    assert urgency.urgent(operations(10.0, comm="other"))


def test_bounds_of_many_jobs_do_not_pile_up():
    """Only the jobs whose bounds came last are kept."""
    urgency = Urgency()
    for attempt in range(1000):
        urgency.learn(Bounds(job="train", attempt=attempt, otherwise=20))
    assert urgency.half_ns("train", 999, "x") == 10 * SECOND
    assert urgency.half_ns("train", 1, "x") == 1.5 * SECOND


def test_drill_down_sends_what_is_kept():
    """The operations asked for are sent as they were read, and the answer says how far back the node knows."""
    templates, _, window, sent = made()
    window.keep(operations(*range(20)), at=3)
    window.keep(operations(*range(20), comm="other"), at=4)
    assert templates.carry_out(Order(1, "drill_down", DRILL)) == ("done", {"rows": 9, "kept_from": 3})
    assert sent[0]["collectives"].equals(operations(*range(20)).slice(0, 9))


def test_the_window_is_bounded():
    """Beyond its bytes the oldest give way; without any room nothing is kept."""
    table = operations(*range(50))
    window = Window(3 * table.nbytes)
    for at in range(10):
        window.keep(table, at)
    assert window.kept_from == 7
    assert window.find(DrillDown(**DRILL)).num_rows == 3 * 9
    nothing = Window(0)
    nothing.keep(table, 1)
    assert nothing.find(DrillDown(**DRILL)).num_rows == 0


@pytest.mark.parametrize(
    ("allowed", "order", "words"),
    [
        (["bounds"], Order(1, "drill_down", DRILL), "does not allow 'drill_down'"),
        (["bounds"], Order(1, "sh", {"command": "reboot"}), "does not allow 'sh'"),
        (["bounds"], Order(1, "bounds", BOUNDS | {"otherwise": -1}), "arguments.otherwise"),
    ],
)
def test_refused(allowed, order, words):
    """What is not allowed here, or does not fit its template, is refused with the reason."""
    state, result = made(allowed)[0].carry_out(order)
    assert state == "refused"
    assert words in result["why"]


def test_an_unknown_template_cannot_be_allowed():
    """A wrong word in the configuration is told at start."""
    with pytest.raises(ValueError, match="no template 'shell'"):
        made(["bounds", "shell"])


def test_what_fails_is_answered():
    """An order that fails is answered with the reason, and the agent goes on."""

    def broken(_):
        raise OSError("no room")

    templates, _, window, _ = made(send=broken)
    window.keep(operations(1), at=3)
    assert templates.carry_out(Order(1, "drill_down", DRILL)) == ("failed", {"why": "OSError: no room"})


def test_so_many_orders_a_minute():
    """Beyond a number of orders a minute the rest is refused, until the minute is over."""
    now = [0.0]
    templates, *_ = made(clock=lambda: now[0])
    states = [templates.carry_out(Order(n, "bounds", BOUNDS))[0] for n in range(MINUTE + 1)]
    assert states == ["done"] * MINUTE + ["refused"]
    now[0] += 60
    assert templates.carry_out(Order(99, "bounds", BOUNDS))[0] == "done"
