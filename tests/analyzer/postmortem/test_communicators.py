"""Which group of one process is which of another's."""

from __future__ import annotations

from support_fr import Group, Job

from offbeat.analyzer.diagnose import diagnose


def answer(folder):
    document = diagnose([folder])
    return sorted((str(f.fault), f.culprits.ranks) for f in document.findings), document


def running(job, calls=4):
    for _ in range(calls):
        for group in job.groups:
            job.call(group.name)
    return job


NOT_ENTERED = "hang.not_entered"


def test_groups_of_one_name_and_other_members_are_different(tmp_path):
    """Every rank of a job may call its tensor group by the same name."""
    job = Job(4, [Group("left", "TP", [0, 1], {0: "tp", 1: "tp"}), Group("right", "TP", [2, 3], {2: "tp", 3: "tp"})])
    running(job)
    job.call("left")
    job.call("left")
    job.call("right", ranks=[2], done=False)
    assert answer(job.write(tmp_path))[0] == [(NOT_ENTERED, (3,))]


def test_names_of_a_processs_own_are_matched_by_members(tmp_path):
    """Where each process numbers its groups for itself, members and description still say which is which."""
    names = {0: "7", 1: "12", 2: "7"}
    job = running(Job(3, [Group("tp", "TENSOR", [0, 1, 2], names)]))
    job.call("tp", ranks=[0, 2], done=False)
    assert answer(job.write(tmp_path))[0] == [(NOT_ENTERED, (1,))]


def test_two_groups_over_the_same_ranks_are_matched_by_order_of_creation(tmp_path):
    """Own names, same members, same description: the first of one process is the first of the others."""
    first = Group("a", "undefined", [0, 1, 2], {0: "3", 1: "5", 2: "4"})
    second = Group("b", "undefined", [0, 1, 2], {0: "9", 1: "8", 2: "7"})
    job = Job(3, [first, second])
    running(job, 2)
    for _ in range(5):
        job.call("a")
    job.call("b", ranks=[0, 1], done=False)
    found, document = answer(job.write(tmp_path))
    assert found == [(NOT_ENTERED, (2,))]
    assert document.observed.communicators == 3


def test_two_groups_over_the_same_ranks_are_told_apart_by_name(tmp_path):
    """Where names are the job's own, groups alike in all else are matched by them."""
    job = running(Job(3, [Group("41", "undefined", range(3)), Group("42", "undefined", range(3))]))
    job.call("41")
    job.call("42", ranks=[0, 2], done=False)
    found, document = answer(job.write(tmp_path))
    assert found == [(NOT_ENTERED, (1,))]
    assert "group 42" in document.findings[0].summary


def test_counters_of_a_rank_without_entries_are_found_by_order_of_creation(tmp_path):
    """Local numbers skip groups that this rank is no member of; the order of creation still maps them."""
    groups = [Group("3", "TP", [0, 1]), Group("4", "TP", [2, 3]), Group("9", "DP", [0, 2]), Group("10", "DP", [1, 3])]
    job = running(Job(4, groups))
    job.call("10", ranks=[1], done=False)
    hung = job.write(tmp_path, only_active=True, change=lambda r, d: d | {"entries": []} if r == 3 else None)
    assert answer(hung)[0] == [(NOT_ENTERED, (3,))]


def test_hashed_names_take_the_number_of_another_member(tmp_path):
    """Names that are hashes have no order: the local number is the one that other members use."""
    job = running(Job(3, [Group("f3a9", "TP", range(3))]))
    job.call("TP", ranks=[0, 1], done=False)
    hung = job.write(tmp_path, only_active=True, change=lambda r, d: d | {"entries": []} if r == 2 else None)
    assert answer(hung)[0] == [(NOT_ENTERED, (2,))]


def test_a_group_that_was_never_used_by_a_rank_is_known_as_such(tmp_path):
    """What a rank had entered and not finished would be in its dump, so what is not there it has not entered."""
    job = Job(3, [Group("5", "EVAL", range(3))])
    job.call()
    job.call("EVAL", ranks=[0, 1], done=False)
    found, document = answer(job.write(tmp_path, only_active=True))
    assert found == [(NOT_ENTERED, (2,))]
    assert "nothing of this group" in document.findings[0].evidence[0].text


def test_members_that_one_dump_lacks_are_taken_from_another(tmp_path):
    """A dump whose configuration is empty still belongs to the group it recorded operations of."""
    job = running(Job(3, [Group("5", "TP", range(3))]))
    job.call("TP", ranks=[0, 1], done=False)
    bare = job.write(tmp_path, change=lambda r, d: d | {"pg_config": {}} if r == 2 else None)
    assert answer(bare)[0] == [(NOT_ENTERED, (2,))]


def test_without_any_configuration_the_default_group_is_everybody(tmp_path):
    """As gloo dumps are: no members are listed anywhere."""
    job = running(Job(4, library="gloo"))
    job.call(ranks=[0, 1, 2], done=False)
    folder = job.write(tmp_path, change=lambda r, d: d | {"pg_config": {"": {"name": "", "desc": "", "ranks": "[]"}}})
    assert answer(folder)[0] == [(NOT_ENTERED, (3,))]


def test_configurations_that_list_the_groups_of_others_are_read(tmp_path):
    """Groups of which a rank is no member neither confuse it nor make it a member."""
    job = running(Job(4, [Group("1", "TP", [0, 1]), Group("2", "TP", [2, 3])]))
    job.call("2", ranks=[3], done=False)
    everything = {g.name: {"name": g.name, "desc": g.desc, "ranks": str(list(g.ranks))} for g in job.groups}
    assert answer(job.write(tmp_path, change=lambda r, d: d | {"pg_config": everything}))[0] == [(NOT_ENTERED, (2,))]


def test_folders_of_one_host_each_are_one_job(tmp_path):
    """Dumps gathered host by host, their ranks all different, are judged together."""
    job = running(Job(4))
    job.call(ranks=[0, 1, 2], done=False)
    job.write(tmp_path / "node0", ranks=[0, 1])
    job.write(tmp_path / "node1", ranks=[2, 3])
    assert answer(tmp_path)[0] == [(NOT_ENTERED, (3,))]


def test_folders_with_the_same_ranks_are_different_jobs(tmp_path):
    """Each folder is judged by itself, and the finding says which it is of."""
    job = running(Job(3))
    job.write(tmp_path / "good")
    job.call(ranks=[0, 1], done=False)
    job.write(tmp_path / "bad")
    found, document = answer(tmp_path)
    assert found == [(NOT_ENTERED, (2,))]
    assert document.findings[0].summary.startswith("bad: ")
    assert document.findings[0].id.startswith("bad/")


def test_ranks_numbered_anew_on_each_host_are_told_by_their_groups(tmp_path):
    """File names with local ranks are corrected where the groups of a process leave one rank only."""
    groups = [Group("1", "TP", [0, 1]), Group("2", "TP", [2, 3]), Group("3", "DP", [0, 2]), Group("4", "DP", [1, 3])]
    job = running(Job(4, groups))
    job.call("2", ranks=[2], done=False)
    for host in (0, 1):
        for local in (0, 1):
            job.write(tmp_path / f"node{host}" / str(local), ranks=[2 * host + local], name="dump")
            (tmp_path / f"node{host}" / str(local) / "dump").rename(tmp_path / f"node{host}" / f"dump_{local}")
    found, document = answer(tmp_path)
    assert found == [(NOT_ENTERED, (3,))]
    assert any("groups" in warning for warning in document.warnings)


def test_a_pickle_and_its_json_twin_are_one_dump(tmp_path):
    """Both forms of one dump beside each other are no contradiction."""
    job = running(Job(3))
    job.call(ranks=[0, 1], done=False)
    job.write(tmp_path, name="fr_{}.json")
    job.write(tmp_path, name="fr_{}.pkl")
    found, document = answer(tmp_path)
    assert found == [(NOT_ENTERED, (2,))]
    assert document.warnings == []
    assert document.observed.ranks == 3
