"""Ranks that others wait for: all of them, and only them."""

from __future__ import annotations

import time

import pytest
from support_fr import Group, Job, megatron

from offbeat.analyzer.diagnose import diagnose


def answer(folder):
    """Diagnose *folder* and return (class, culprit ranks) of each finding, and the document."""
    document = diagnose([folder])
    return sorted((str(f.fault), f.culprits.ranks) for f in document.findings), document


NOT_ENTERED = "hang.not_entered"


def running(job, calls=5, op="all_reduce"):
    """Let all members of every group make some calls that end well."""
    for _ in range(calls):
        for group in job.groups:
            job.call(group.name, op)
    return job


def test_one_rank_never_entered(tmp_path):
    """The one member that has not launched what all others wait in is named, with the others as victims."""
    job = running(Job(4))
    job.call(ranks=[0, 1, 3], done=False)
    found, document = answer(job.write(tmp_path))
    assert found == [(NOT_ENTERED, (2,))]
    finding = document.findings[0]
    assert finding.victims == (0, 1, 3)
    assert finding.detected_at is None
    assert finding.started_at == job.now
    assert "rank 2 never launched all_reduce 6 of default_pg (its last is 5)" in finding.evidence[0].text
    assert document.exit_code == 1


@pytest.mark.parametrize("name", ["rank{}.json", "fr_trace_{}.pickle", "nccl_trace_rank_{}", "dump-{}.pkl", "{}"])
def test_any_file_name_that_ends_in_the_rank_will_do(tmp_path, name):
    """Formats are told by content and the rank by the name's last number."""
    job = running(Job(3))
    job.call(ranks=[0, 2], done=False)
    assert answer(job.write(tmp_path, name=name))[0] == [(NOT_ENTERED, (1,))]


def test_several_culprits_in_different_groups_are_all_named(tmp_path):
    """Two ranks that stopped independently, in groups that share nothing, are two findings with their own victims."""
    world, groups = megatron(tensor=4, pipeline=1, data=2)
    job = running(Job(world, groups))
    job.call("1", ranks=[0, 1, 3], done=False)
    job.call("2", ranks=[4, 6, 7], done=False)
    found, document = answer(job.write(tmp_path))
    assert found == [(NOT_ENTERED, (2,)), (NOT_ENTERED, (5,))]
    assert {f.culprits.ranks: f.victims for f in document.findings} == {(2,): (0, 1, 3), (5,): (4, 6, 7)}


def test_several_culprits_missing_from_one_operation_are_one_finding(tmp_path):
    """Ranks missing from the same operation are one cause to look at."""
    job = running(Job(8))
    job.call(ranks=[0, 1, 2, 4, 5, 7], done=False)
    assert answer(job.write(tmp_path))[0] == [(NOT_ENTERED, (3, 6))]


def test_a_rank_that_waits_elsewhere_is_a_victim(tmp_path):
    """Waiting propagates across communicators: only the rank at the end of the chain is named."""
    world, groups = megatron(tensor=2, pipeline=1, data=2)
    job = running(Job(world, groups))
    data = [g.name for g in job.groups if g.desc == "DATA"]
    job.call(data[1], ranks=[1], done=False)  # ranks 1 and 3; 3 stopped
    job.call("1", ranks=[0], done=False)  # ranks 0 and 1; 1 is stuck in the other
    job.call(data[0], ranks=[2], done=False)  # ranks 0 and 2; 0 is stuck waiting for 1
    found, document = answer(job.write(tmp_path))
    assert found == [(NOT_ENTERED, (3,))]
    assert document.findings[0].victims == (0, 1, 2)


def test_a_rank_without_entries_is_judged_by_its_counters(tmp_path):
    """A process hung in the interpreter dumps no entries, but its counters say how far it got."""
    world, groups = megatron(tensor=4, pipeline=1, data=2)
    job = running(Job(world, groups))
    job.call("1", ranks=[0, 1, 3], done=False)
    hung = job.write(tmp_path, only_active=True, change=lambda r, d: d | {"entries": []} if r == 2 else None)
    found, document = answer(hung)
    assert found == [(NOT_ENTERED, (2,))]
    assert "by its counters" in document.findings[0].evidence[0].text


def test_counters_keyed_by_group_name_are_understood(tmp_path):
    """Some builds key the counters by the group's name instead of a local number."""
    group = Group("tp_a", "TENSOR", range(3))
    job = running(Job(3, [group]))
    job.call("TENSOR", ranks=[0, 1], done=False)

    def by_name(rank, dump):
        names = list(dump["pg_config"])
        dump["pg_status"] = {names[int(key)]: status for key, status in dump["pg_status"].items()}
        return dump | ({"entries": []} if rank == 2 else {})

    assert answer(job.write(tmp_path, change=by_name, only_active=True))[0] == [(NOT_ENTERED, (2,))]


def test_counters_that_mix_in_transfers_are_not_believed(tmp_path):
    """A group's counter counts sends too, so a rank far ahead by it may still not have entered."""
    job = running(Job(3))
    for _ in range(50):
        job.send(1, 0, done=True)
    job.call(ranks=[0, 2], done=False)
    found, _ = answer(job.write(tmp_path))
    assert found == [(NOT_ENTERED, (1,))]


def test_an_absent_dump_is_a_culprit_when_nothing_else_explains_the_wait(tmp_path):
    """A rank that left no dump and that others wait for in a collective is named, with less confidence."""
    job = running(Job(4))
    job.call(ranks=[0, 1, 2], done=False)
    found, document = answer(job.write(tmp_path, ranks=[0, 1, 2]))
    assert found == [(NOT_ENTERED, (3,))]
    assert document.findings[0].confidence < 0.7
    assert "rank 3 left no dump" in document.findings[0].evidence[0].text


def test_an_absent_dump_is_innocent_when_another_rank_explains_the_wait(tmp_path):
    """Of a rank that stopped and a rank without dump only the first is named; the other is a warning."""
    job = running(Job(4))
    job.call(ranks=[0, 1], done=False)
    found, document = answer(job.write(tmp_path, ranks=[0, 1, 2]))
    assert found == [(NOT_ENTERED, (2,))]
    assert any("rank 3" in warning for warning in document.warnings)


def test_an_absent_dump_that_nobody_waits_for_is_only_a_warning(tmp_path):
    """A lost dump of a job that ran is no finding."""
    found, document = answer(running(Job(4)).write(tmp_path, ranks=[0, 1, 3]))
    assert found == []
    assert document.exit_code == 0
    assert document.warnings == ["no dump of rank 2"]


def test_an_empty_dump_counts_as_none(tmp_path):
    """A dump without entries and counters says nothing of its rank."""
    job = running(Job(3))
    job.call(ranks=[0, 1], done=False)
    empty = job.write(tmp_path, change=lambda r, d: d | {"entries": [], "pg_status": {}} if r == 2 else None)
    found, document = answer(empty)
    assert found == [(NOT_ENTERED, (2,))]
    assert any("says nothing" in warning for warning in document.warnings)


def test_pipeline_transfers_are_downstream(tmp_path):
    """Ranks that wait in sends and receives for a stage that hangs are victims, never missing."""
    world, groups = megatron(tensor=2, pipeline=3, data=1)
    job = running(Job(world, groups))
    job.call("3", ranks=[4], done=False)  # the last stage, ranks 4 and 5: 5 stopped
    for tensor in (0, 1):
        pipe = next(g.name for g in groups if g.ranks == (tensor, 2 + tensor, 4 + tensor))
        job.send(2 + tensor, 4 + tensor, pipe, sides="send")
        job.send(tensor, 2 + tensor, pipe, sides="send")
    found, document = answer(job.write(tmp_path, only_active=True))
    assert found == [(NOT_ENTERED, (5,))]
    assert document.findings[0].victims == (0, 1, 2, 3, 4)


def test_a_collective_behind_a_transfer_is_downstream_too(tmp_path):
    """Calls that all members launched, queued behind a receive that never comes, blame nobody of that group."""
    world, groups = megatron(tensor=2, pipeline=2, data=1)
    job = running(Job(world, groups))
    for tensor in (0, 1):
        pipe = next(g.name for g in groups if g.ranks == (tensor, 2 + tensor))
        job.send(2 + tensor, tensor, pipe, sides="recv")
    job.call("1", done=False)
    job.call("2", ranks=[2], done=False)
    assert answer(job.write(tmp_path, only_active=True))[0] == [(NOT_ENTERED, (3,))]


def test_batched_transfers_have_the_state_of_their_batch(tmp_path):
    """The parts of a batch stay `scheduled` for ever; once the batch is finished nobody waits in them."""
    job = running(Job(2))
    for _ in range(3):
        job.batch(0, ["send 0->1", "recv 0<-1"], done=True)
        job.batch(1, ["send 1->0", "recv 1<-0"], done=True)
    assert answer(job.write(tmp_path / "healthy"))[1].exit_code == 0
    assert answer(job.write(tmp_path / "active", only_active=True))[0] == []


def test_an_open_batch_leads_to_the_rank_that_holds_it_up(tmp_path):
    """A coalesced batch waits for all its peers, one of whom is stuck in a collective."""
    world, groups = megatron(tensor=2, pipeline=2, data=1)
    job = running(Job(world, groups))
    job.call("2", ranks=[2], done=False)
    pipe = next(g for g in groups if g.ranks == (0, 2))
    job.batch(0, ["send 0->1", "recv 0<-1"], pipe.name)
    found, document = answer(job.write(tmp_path, only_active=True))
    assert found == [(NOT_ENTERED, (3,))]
    assert document.findings[0].victims == (0, 2)


def test_only_transfers_left_leads_to_the_idle_partner(tmp_path):
    """In a job that only sends and receives, the rank with nothing in flight is named, without much confidence."""
    world, groups = megatron(tensor=1, pipeline=3, data=1)
    job = running(Job(world, groups))
    pipe = next(g.name for g in groups if g.desc == "PIPELINE")
    job.send(1, 0, pipe, sides="recv")
    job.send(2, 1, pipe, sides="recv")
    found, document = answer(job.write(tmp_path))
    assert found == [(NOT_ENTERED, (2,))]
    assert document.findings[0].confidence <= 0.6


def test_a_stuck_device_is_named_although_its_host_went_on(tmp_path):
    """A member with an operation open that all others finished is the culprit, however much it launched since."""
    job = running(Job(4))
    job.call(done=[0, 1, 3])
    for _ in range(3):
        job.call(done=False)
    found, document = answer(job.write(tmp_path))
    assert found == [(NOT_ENTERED, (2,))]
    assert (
        "still has all_reduce 6 of default_pg open, which others have finished" in document.findings[0].evidence[0].text
    )


def test_a_broadcast_that_its_root_finished_blames_nobody(tmp_path):
    """The root of a broadcast may leave before the others have even entered."""
    job = running(Job(4))
    job.call(op="broadcast", done=[0])
    job.call(op="broadcast", ranks=[0], done=False)
    found, _ = answer(job.write(tmp_path))
    assert (NOT_ENTERED, (1, 2, 3)) not in [f for f in found if len(f[1]) == 2]
    assert all(ranks != (0,) for _, ranks in found)


def test_a_device_that_never_began_is_named(tmp_path):
    """With timing on, the one member whose device has not begun what the others' have is named."""
    job = running(Job(4, timing=True))
    job.call(done=False)

    def not_begun(rank, dump):
        if rank == 1:
            dump["entries"][-1] |= {"state": "scheduled", "time_discovered_started_ns": None}

    assert answer(job.write(tmp_path, change=not_begun))[0] == [(NOT_ENTERED, (1,))]


def test_numbers_may_begin_with_zero(tmp_path):
    """Some backends call the first operation 0: who never used the group has not entered that either."""
    job = Job(3, [Group("1", "EVAL", range(3))])
    job.seqs = {(rank, group): -1 for rank in range(3) for group in ("0", "1")}
    job.call()
    job.call("EVAL", ranks=[0, 2], done=False)
    found, document = answer(job.write(tmp_path))
    assert found == [(NOT_ENTERED, (1,))]
    assert "never used this group" in document.findings[0].evidence[0].text


def test_two_members_suffice(tmp_path):
    """In a group of two the one that waits is the witness against the other."""
    job = running(Job(2))
    job.call(ranks=[1], done=False)
    assert answer(job.write(tmp_path))[0] == [(NOT_ENTERED, (0,))]


def test_a_rank_that_stopped_after_an_asynchronous_launch_is_named_too(tmp_path):
    """Of two ranks that stopped, one still has an operation open for which the other is to blame."""
    world, groups = megatron(tensor=4, pipeline=1, data=2)
    job = running(Job(world, groups))
    job.call(ranks=[r for r in range(8) if r != 7], done=False)  # 7 stopped
    job.call("1", ranks=[0, 1, 3], done=False)  # 2 stopped after launching the first
    job.call("2", ranks=[4, 5, 6], done=False)
    found, _ = answer(job.write(tmp_path))
    assert sorted(rank for _, ranks in found for rank in ranks) == [2, 7]


def test_a_wrapped_ring_is_no_reason_to_miss_calls(tmp_path):
    """What fell out of the ring was called; only the end of the sequence tells who is missing."""
    job = running(Job(4), calls=50)
    job.call(ranks=[0, 1, 2], done=False)
    assert answer(job.write(tmp_path, ring=7))[0] == [(NOT_ENTERED, (3,))]


def test_a_shuffled_dump_reads_the_same(tmp_path):
    """Entries carry their order; where they stand in the file does not matter."""
    job = running(Job(4), calls=20)
    job.call(ranks=[0, 1, 2], done=False)

    def shuffle(rank, dump):
        dump["entries"] = dump["entries"][7:] + dump["entries"][:7]

    assert answer(job.write(tmp_path, change=shuffle))[0] == [(NOT_ENTERED, (3,))]


def test_a_timed_out_operation_is_still_waited_in(tmp_path):
    """NCCL's watchdog retires what timed out without having seen it complete: that is no completion."""
    job = running(Job(4))
    job.call(ranks=[0, 1, 2], done=False)

    def retire(rank, dump):
        dump["entries"][-1]["retired"] = rank != 3 or dump["entries"][-1]["retired"]

    assert answer(job.write(tmp_path, change=retire))[0] == [(NOT_ENTERED, (3,))]


def test_gloo_hides_failures_and_is_still_read(tmp_path):
    """Backend gloo marks a call that timed out as finished; who never entered it is named with little confidence."""
    job = running(Job(4, library="gloo"))
    job.call(ranks=[0, 1, 2], done=True)
    found, document = answer(job.write(tmp_path))
    assert found == [(NOT_ENTERED, (3,))]
    assert document.findings[0].confidence <= 0.6


def test_failed_calls_of_gloo_lead_through_other_groups(tmp_path):
    """Ranks that gave up in one group are missing from others; only the one that stopped is named."""
    groups = [Group("1", "TP", [0, 1]), Group("2", "TP", [2, 3]), Group("3", "DP", [0, 2]), Group("4", "DP", [1, 3])]
    job = running(Job(4, groups, library="gloo"))
    job.call("1")
    job.call("2", ranks=[2])  # rank 3 stopped
    job.call("3", ranks=[0])
    job.call("4", ranks=[1])
    found, document = answer(job.write(tmp_path))
    assert found == [(NOT_ENTERED, (3,))]
    assert document.findings[0].victims == (0, 1, 2)


def test_gloo_without_one_dump_cannot_be_told_healthy(tmp_path):
    """A rank that was killed leaves no dump, and its peers' failed calls look finished."""
    job = running(Job(4, library="gloo"))
    found, document = answer(job.write(tmp_path, ranks=[0, 1, 2]))
    assert found == []
    assert document.exit_code == 3


def test_512_ranks_take_less_than_five_seconds(tmp_path):
    """The judgement grows with what is recorded, not with the square of the ranks."""
    world, groups = megatron(tensor=8, pipeline=4, data=16)
    job = running(Job(world, groups), calls=8)
    for group in groups:
        if group.desc == "TENSOR":
            job.call(group.name, ranks=[r for r in group.ranks if r not in {77, 300}], done=False)
    job.write(tmp_path)
    began = time.process_time()
    found, _ = answer(tmp_path)
    assert time.process_time() - began < 5
    assert found == [(NOT_ENTERED, (77,)), (NOT_ENTERED, (300,))]


def test_a_device_that_stands_behind_a_broadcast_is_found(tmp_path):
    """The oldest thing open is a broadcast, which proves nothing; the next calls, finished by the others, do."""
    job = Job(4)
    job.call()
    job.call(op="broadcast", done=[0, 1, 2])
    job.call(done=[0, 1, 2])
    job.call(ranks=[0, 1, 2, 3], done=False)
    document = diagnose([job.write(tmp_path)])
    assert [f.culprits.ranks for f in document.findings] == [(3,)]
    assert "still has broadcast 2" in document.findings[0].evidence[0].text


def test_parts_of_finished_batches_are_no_transfers_under_way(tmp_path):
    """A first stage that sends one thing at a time leaves single parts; its neighbour shows that they are parts."""
    pipe = Group("1", "PIPELINE", [0, 1, 2])
    job = Job(3, [pipe])
    for _ in range(3):
        job.batch(0, ["send 0->1"], "PIPELINE", done=True)
        job.batch(1, ["recv 1<-0", "send 1->2"], "PIPELINE", done=True)
        job.batch(2, ["recv 2<-1"], "PIPELINE", done=True)
    document = diagnose([job.write(tmp_path, only_active=True)])
    assert document.findings == []
    assert document.exit_code == 0


def test_where_only_transfers_wait_for_a_rank_without_a_dump_it_is_named(tmp_path):
    """A pipeline's middle rank is gone, and its neighbours have nothing open but what they owe each other with it."""
    job = Job(5, [Group("1", "PIPELINE", range(5))])
    for _ in range(3):
        job.call()
    job.send(1, 2, "PIPELINE", sides="send")
    job.send(2, 3, "PIPELINE", sides="recv")
    document = diagnose([job.write(tmp_path, ranks=[0, 1, 3, 4])])
    assert [f.culprits.ranks for f in document.findings] == [(2,)]
    assert document.findings[0].confidence < 0.6


def test_where_most_left_no_dump_none_is_named_for_it(tmp_path):
    """One dump of eight says who is waited for, not who stopped."""
    job = Job(8, [Group("1", "TENSOR", [0, 1])])
    job.call()
    job.call("TENSOR", ranks=[0], done=False)
    document = diagnose([job.write(tmp_path, ranks=[0])])
    assert document.findings == []
    assert document.exit_code == 3


def test_a_gloo_group_of_unknown_members_is_not_said_to_be_complete(tmp_path):
    """No dump lists its members, and one of them may be the rank that left no dump."""
    job = Job(4, [Group("1", "PAIR", [1, 3])], library="gloo")
    job.call()
    job.call("PAIR", ranks=[1], done=False)

    def unlisted(rank, dump):
        dump["pg_config"] = {"": {"name": "", "desc": "", "ranks": "[]"}}

    document = diagnose([job.write(tmp_path, ranks=[0, 1, 2], change=unlisted)])
    assert document.findings == []
    assert document.exit_code == 3
