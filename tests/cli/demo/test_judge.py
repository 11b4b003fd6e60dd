"""Judging findings: right class, right culprit, and nobody else."""

import pytest

from offbeat.cli.demo.judge import Expected, Sighting, is_right, judge

RANK = Expected.rank({"slow.compute"}, 5, "node-2")
HUNG = Expected.rank({"hang.not_entered", "hang.in_transport"}, 5, "node-2")
HOST = Expected.sending_host({"slow.send", "slow.receive", "slow.link"}, "node-2", [4, 5])


def seen(*findings, at=1.0):
    """Return a sighting of an incident that carried *findings* one after the other."""
    return Sighting(at, {"state": "open", "ended_at": None}, list(findings))


def test_the_rank_alone_is_right(finding):
    """A finding that names the rank, with or without the host it runs on, is right."""
    assert is_right(RANK, finding(ranks=[5]))
    assert is_right(RANK, finding(ranks=[5], hosts=["node-2"]))


@pytest.mark.parametrize(
    ("class_", "culprits"),
    [
        ("slow.compute", {"ranks": [4]}),
        ("slow.compute", {"ranks": [4, 5]}),
        ("slow.compute", {"ranks": [5], "hosts": ["node-1"]}),
        ("slow.compute", {"hosts": ["node-2"]}),
        ("slow.compute", {}),
        ("slow.mixed", {"ranks": [5]}),
        ("slow.compute", {"ranks": [5], "links": [{"src_rank": 1, "dst_rank": 2}]}),
    ],
)
def test_anything_else_is_wrong_for_a_rank(finding, class_, culprits):
    """Another rank, one more, its host alone, nobody, another class, or a link elsewhere: all wrong."""
    assert not is_right(RANK, finding(class_, **culprits))


def test_a_stuck_rank_may_be_named_with_a_link_that_it_is_part_of(finding):
    """A transport that stands still may be told by the link where progress stopped, if the rank is named."""
    assert is_right(HUNG, finding("hang.in_transport", ranks=[5], links=[{"src_rank": 3, "dst_rank": 5}]))
    assert not is_right(HUNG, finding("hang.in_transport", links=[{"src_rank": 3, "dst_rank": 5}]))


@pytest.mark.parametrize(
    ("culprits", "right"),
    [
        ({"hosts": ["node-2"]}, True),
        ({"hosts": ["node-2"], "ranks": [4]}, True),
        ({"ranks": [4, 5]}, True),
        ({"links": [{"src_host": "node-2", "dst_host": "node-1"}]}, True),
        ({"links": [{"src_rank": 4, "dst_rank": 3}]}, True),
        ({"links": [{"src_host": "node-1", "dst_host": "node-2"}]}, False),
        ({"hosts": ["node-2", "node-1"]}, False),
        ({"hosts": ["node-2"], "ranks": [3]}, False),
        ({}, False),
    ],
)
def test_a_host_is_right_by_name_ranks_or_sending_links(finding, culprits, right):
    """The host whose sending is slow is named by itself, its ranks, or links that it sends on; nobody else may be."""
    assert is_right(HOST, finding("slow.link", **culprits)) is right


def test_a_name_taken_back_was_still_named(finding):
    """An incident that accused somebody else at first is wrong, though it names the culprit now."""
    verdict = judge(RANK, [seen(finding(ranks=[4]), finding(ranks=[5]))])
    assert verdict.right is None
    assert len(verdict.wrong) == 1


def test_symptoms_and_remarks_accuse_nobody(finding):
    """Findings of severity info, and those that name the right one as their cause, are not wrong."""
    right = seen(finding(ranks=[5], id_="root"), at=2.0)
    symptom = seen(finding("slow.uniform", caused_by="root"))
    remark = seen(finding("slow.link", ranks=[1], severity="info"))
    verdict = judge(RANK, [remark, symptom, right])
    assert verdict.right is right
    assert verdict.wrong == ()


def test_the_first_of_two_right_incidents_counts(finding):
    """When a fault is named twice, the seconds are those of the first name."""
    late, early = seen(finding(ranks=[5]), at=9.0), seen(finding(ranks=[5]), at=3.0)
    assert judge(RANK, [late, early]).right is early


def test_while_nothing_is_wrong_every_accusation_is(finding):
    """Nothing can be right on a healthy job."""
    assert judge(None, [seen(finding(ranks=[5]))]).wrong
    assert not judge(None, [seen(finding(severity="info"))]).wrong
