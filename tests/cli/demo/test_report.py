"""What the demo prints."""

import io

from rich.console import Console

from offbeat.cli.demo.faults import Fault
from offbeat.cli.demo.judge import Expected, Sighting, Verdict
from offbeat.cli.demo.report import Outcome, Screen, name_culprits, show_finding, show_table

FAULT = Fault("rank 5 computes slower", Expected.rank((), 5, "node-2"), str, lambda: None)


def console():
    """Return a console that prints into a string, wide enough for the table."""
    return Console(file=io.StringIO(), width=160)


def seen(finding, at):
    """Return a sighting of *finding*."""
    return Sighting(at, {"state": "open", "ended_at": None}, [finding])


def test_all_right_is_said_and_returned(finding):
    """With every fault named and no false alarm the table says so."""
    out = console()
    right = seen(finding(ranks=[5]), 103.25)
    assert show_table(out, [Outcome(FAULT, 100.0, Verdict(right, ()))], [])
    text = out.file.getvalue()
    assert "rank 5 computes slower" in text
    assert "3.2" in text
    assert "1 of 1 named right, 0 skipped, 0 false alarms" in text


def test_a_false_alarm_makes_it_wrong(finding):
    """One accusation while nothing was wrong is a row of its own, and the whole is not right."""
    out = console()
    right = Outcome(FAULT, 100.0, Verdict(seen(finding(ranks=[5]), 103.0), ()))
    assert not show_table(out, [right], [seen(finding(ranks=[1]), 90.0)])
    assert "(nothing)" in out.file.getvalue()


def test_an_innocent_beside_the_culprit_makes_it_wrong(finding):
    """A fault that is named right is still wrong when somebody else is named with it."""
    out = console()
    verdict = Verdict(seen(finding(ranks=[5]), 103.0), (seen(finding(ranks=[1]), 104.0),))
    assert not show_table(out, [Outcome(FAULT, 100.0, verdict)], [])
    assert "0 of 1 named right" in out.file.getvalue()


def test_a_skipped_fault_is_neither_right_nor_wrong(finding):
    """What could not be done is told with its reason and does not count; nothing done at all is not right."""
    out = console()
    skipped = Outcome(FAULT, 100.0, None, "no namespaces")
    assert show_table(out, [skipped, Outcome(FAULT, 100.0, Verdict(seen(finding(ranks=[5]), 101.0), ()))], [])
    assert "skipped: no namespaces" in out.file.getvalue()
    assert not show_table(out, [skipped], [])


def test_a_finding_shows_class_culprit_evidence_and_advice(finding):
    """The panel holds what a person needs, and brackets in it are text, not markup."""
    out = console()
    value = finding(ranks=[5], hosts=["node-2"]) | {"summary": "rank 5 [bold] is late"}
    show_finding(out, seen(value, 1.0), "named after 1.0 s", right=True)
    text = out.file.getvalue()
    for word in (
        "slow.compute",
        "rank 5, node-2",
        "[bold]",
        "a figure",
        "inspect: a reason",
        "1.50x",
        "named after 1.0 s",
    ):
        assert word in text


def test_culprits_in_one_line(finding):
    """Ranks, hosts and links are named; nobody is said where there is none."""
    link = {"src_rank": 4, "src_host": "node-2", "dst_rank": 3, "dst_host": "node-1"}
    assert name_culprits(finding(links=[link])) == "rank 4 (node-2) -> rank 3 (node-1)"
    assert name_culprits(finding(links=[{"src_host": "a", "dst_host": "b"}])) == "a -> b"
    assert name_culprits(finding()) == "nobody"


def test_the_bar_leaves_what_was_said():
    """Lines said while the bar is shown stay when it is gone."""
    out = console()
    with Screen(out, steps=2) as screen:
        screen.stage("starting")
        screen.say("Dashboard: http://127.0.0.1:1/#login=a[b]")
        screen.done("rank 5 was stopped")
        screen.remark("odd")
        screen.step()
    text = out.file.getvalue()
    assert "Dashboard: http://127.0.0.1:1/#login=a[b]" in text
    assert "==> rank 5 was stopped" in text
