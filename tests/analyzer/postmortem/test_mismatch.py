"""Ranks that make different calls: who deviates, and what is no deviation."""

from __future__ import annotations

import pytest
from support_fr import Group, Job

from offbeat.analyzer.diagnose import diagnose

MISMATCH = "hang.mismatch"


def answer(folder):
    document = diagnose([folder])
    return sorted((str(f.fault), f.culprits.ranks) for f in document.findings), document


def running(job, calls=6):
    for i in range(calls):
        job.call(op="all_reduce", numel=1000 + i % 3)
    return job


def both(job, deviants, call, other, desc="default_pg"):
    """Let the deviants make *other* while the rest make *call*; neither can finish."""
    members = job.group(desc).ranks
    job.call(desc, ranks=[r for r in members if r not in deviants], done=False, **call)
    job.call(desc, ranks=deviants, done=False, **other)


@pytest.mark.parametrize(
    ("call", "other", "what"),
    [
        ({"op": "broadcast"}, {"op": "all_reduce"}, "operation"),
        ({"op": "all_reduce", "numel": 10}, {"op": "all_reduce", "numel": 20}, "size"),
        ({"op": "all_reduce"}, {"op": "all_reduce", "dtype": "BFloat16"}, "element type"),
        ({"op": "_all_gather_base", "numel": 4, "out": 16}, {"op": "_all_gather_base", "numel": 5, "out": 20}, "size"),
    ],
)
def test_the_minority_deviates(tmp_path, call, other, what):
    """Of four members one enters something else: it is named, and what differs is said."""
    job = running(Job(4))
    both(job, [2], call, other)
    found, document = answer(job.write(tmp_path))
    assert found == [(MISMATCH, (2,))]
    assert f"on the {what} of call 7" in document.findings[0].summary
    assert document.findings[0].advice.action == "fix_workload"
    assert document.findings[0].victims == (0, 1, 3)


@pytest.mark.parametrize("op", ["all_gather", "reduce_scatter", "all_to_all", "_all_gather_base"])
def test_uneven_shares_are_legitimate(tmp_path, op):
    """Gathers and scatters may be uneven; only a member that is missing is to blame."""
    job = running(Job(4))
    job.now += 1
    for rank in (0, 1, 3):
        job.call(op=op, ranks=[rank], done=False, numel=10 + rank, out=46)
    found, _ = answer(job.write(tmp_path))
    assert found == [("hang.not_entered", (2,))]


def test_different_shapes_of_one_size_agree(tmp_path):
    """What counts is the number of elements, not how they are arranged."""
    job = running(Job(3))
    job.call(ranks=[0, 1], done=False, numel=12)

    def reshape(rank, dump):
        if rank == 1:
            dump["entries"][-1] |= {"input_sizes": [[3, 4]], "output_sizes": [[3, 4]]}

    assert answer(job.write(tmp_path, change=reshape))[0] == [("hang.not_entered", (2,))]


def test_a_tie_is_broken_by_what_was_done_before(tmp_path):
    """Two members disagree; the one whose call does not follow the sequence learned so far is wrong."""
    job = Job(2)
    for _ in range(6):
        job.call(op="all_reduce")
        job.call(op="broadcast", numel=4)
    both(job, [1], {"op": "all_reduce"}, {"op": "broadcast", "numel": 4})
    found, document = answer(job.write(tmp_path))
    assert found == [(MISMATCH, (1,))]
    assert "followed the same calls before" in document.findings[0].evidence[1].text


def test_a_tie_is_broken_by_like_groups(tmp_path):
    """Without a history, the other groups of the same description tell what was due."""
    groups = [Group(str(n + 1), "TENSOR", [2 * n, 2 * n + 1]) for n in range(3)]
    job = Job(6, groups)
    for group in groups:
        job.call(group.name, "all_gather")
    for group in groups[1:]:
        job.call(group.name, "reduce_scatter", done=True)
    both(job, [0], {"op": "reduce_scatter"}, {"op": "all_reduce"}, "1")
    found, _ = answer(job.write(tmp_path))
    assert found == [(MISMATCH, (0,))]


def test_a_tie_that_nothing_breaks_names_nobody(tmp_path):
    """When either could be right the disagreement is reported, and that its author is unknown."""
    job = Job(2)
    both(job, [1], {"op": "all_reduce"}, {"op": "broadcast"})
    found, document = answer(job.write(tmp_path))
    assert found == [(MISMATCH, ())]
    assert any("wrong call" in item.what for item in document.abstained)
    assert document.exit_code == 1


def test_a_rank_that_left_out_a_call_is_told_by_its_next_ones(tmp_path):
    """From the disagreement on, its calls are the others' shifted by one."""
    job = running(Job(4))
    for op, numel in (("broadcast", 4), ("all_reduce", 500), ("all_gather", 7)):
        job.call(op=op, numel=numel, ranks=[0, 1, 2] if op == "broadcast" else None, done=False)
    found, document = answer(job.write(tmp_path))
    assert found == [(MISMATCH, (3,))]
    assert "it left one out" in document.findings[0].evidence[1].text


def test_a_rank_that_made_one_call_too_many_is_told_by_its_next_ones(tmp_path):
    """An extra call shifts the others' sequence by one on that rank."""
    job = running(Job(4))
    job.call(op="broadcast", numel=4, ranks=[3], done=False)
    job.call(op="all_reduce", numel=500, done=False)
    job.call(op="all_gather", numel=7, done=False)
    found, document = answer(job.write(tmp_path))
    assert found == [(MISMATCH, (3,))]
    assert "one too many" in document.findings[0].evidence[1].text


def test_who_waits_for_the_disagreement_elsewhere_is_a_victim(tmp_path):
    """Ranks that wait in other groups for the disagreeing ones are not to blame."""
    job = running(Job(4, [Group("1", "PAIR", [2, 3])]))
    job.call(op="broadcast", ranks=[0, 1], done=False)
    job.call(op="all_reduce", ranks=[2], done=False, numel=1000)
    job.call("PAIR", ranks=[3], done=False)
    found, document = answer(job.write(tmp_path))
    assert found == [(MISMATCH, (2,))]
    assert document.findings[0].victims == (0, 1, 3)


def test_a_bystander_killed_by_a_disagreement_is_not_blamed(tmp_path):
    """Who is missing from the disputed call, or from later ones of the group, may have died of it."""
    job = running(Job(5))
    job.call(op="broadcast", ranks=[0, 1, 4], done=False)
    job.call(op="all_reduce", ranks=[2], done=False, numel=1)
    found, _ = answer(job.write(tmp_path))
    assert found == [(MISMATCH, (2,))]


def test_a_disagreement_that_finished_is_a_warning(tmp_path):
    """An all-reduce of different sizes that ended computed nonsense, but holds up nobody."""
    job = running(Job(3))
    job.call(ranks=[0, 1], numel=10)
    job.call(ranks=[2], numel=11)
    found, document = answer(job.write(tmp_path))
    assert found == [(MISMATCH, (2,))]
    assert document.findings[0].severity == "warning"
    assert document.findings[0].victims == ()


def test_what_a_job_has_always_done_is_not_what_stopped_it(tmp_path):
    """A disagreement that the job got away with before is a habit; the missing rank is to blame."""
    job = Job(4)
    for _ in range(8):
        for _ in range(12):
            job.call()
        job.call(ranks=[0, 1, 2], numel=10)
        job.call(ranks=[3], numel=11)
    job.call(ranks=[0, 1, 3], done=False)
    assert answer(job.write(tmp_path))[0] == [("hang.not_entered", (2,))]


def test_numbers_that_do_not_line_up_are_said_to(tmp_path):
    """Where most finished calls disagree the numbers mean different calls, and nothing is concluded from them."""
    job = Job(2)
    job.call(ranks=[0])
    for i in range(40):
        job.call(numel=100 + i)
    found, document = answer(job.write(tmp_path))
    assert found == []
    assert any("do not mean the same calls" in item.why for item in document.abstained)
    assert document.exit_code == 3


def test_coalesced_calls_are_compared_part_by_part(tmp_path):
    """Each part of a coalesced call must agree over the members."""
    job = running(Job(3))
    parts = [("broadcast", 16), ("broadcast", 16)]
    job.coalesced({0: parts, 1: parts, 2: [("broadcast", 16), ("broadcast", 25)]}, done=False)
    assert answer(job.write(tmp_path))[0] == [(MISMATCH, (2,))]


@pytest.mark.parametrize(
    ("end", "parts"),
    [
        ("coalesced", [("broadcast", 16), ("broadcast", 16)]),
        ("REDUCE_SCATTER_coalesced", [("_reduce_oop", 16), ("_reduce_oop", 25)]),
    ],
)
def test_coalesced_calls_that_agree_are_well(tmp_path, end, parts):
    """PyTorch's own cases of matching coalesced calls are no finding."""
    job = Job(2)
    job.coalesced({0: parts, 1: parts}, end=end)
    job.call()
    assert answer(job.write(tmp_path))[1].exit_code == 0


def test_a_coalesced_call_without_parts_disagrees(tmp_path):
    """PyTorch's case of a rank whose coalesced call is empty: one of two has nothing to do with the other."""
    job = Job(2)
    for _ in range(3):
        job.call()
    job.coalesced({1: [("_reduce_oop", 16), ("_reduce_oop", 16)]}, end="REDUCE_SCATTER_coalesced", done=False)
    assert answer(job.write(tmp_path))[0] == [("hang.not_entered", (0,))]


def test_a_circle_of_waits_is_told_as_such(tmp_path):
    """Two ranks that take two groups in another order wait for each other; neither is the one to blame."""
    job = running(Job(2, [Group("1", "A", [0, 1]), Group("2", "B", [0, 1])]))
    job.call("A", ranks=[0], done=False)
    job.call("B", ranks=[1], done=False)
    found, document = answer(job.write(tmp_path))
    assert found == [(MISMATCH, ())]
    assert "circle" in document.findings[0].summary
    assert document.findings[0].victims == (0, 1)


def test_the_one_that_left_a_call_out_is_told_from_a_circle(tmp_path):
    """Seven wait for it where it never came, and it waits for them in the next group: it is the one that differs."""
    job = running(Job(8, [Group("1", "A", range(8)), Group("2", "B", range(8))]))
    for _ in range(3):
        job.call("A", op="all_gather", out=8000)
        job.call("B")
    job.call("A", op="all_gather", out=8000, ranks=[0, 1, 2, 3, 4, 6, 7], done=False)
    job.call("B", ranks=[5], done=False)
    found, document = answer(job.write(tmp_path))
    assert found == [(MISMATCH, (5,))]
    assert document.findings[0].victims == (0, 1, 2, 3, 4, 6, 7)
