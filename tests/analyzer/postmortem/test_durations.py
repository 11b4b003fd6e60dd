"""Late ranks and slow transfers from durations alone."""

from __future__ import annotations

import numpy as np
import pytest
from support_inspector import durations, line, write, write_job

from offbeat.analyzer.diagnose import diagnose

LATE = "slow.compute"


def answer(folder):
    document = diagnose([folder])
    return sorted((str(f.fault), f.culprits.ranks) for f in document.findings), document


def test_the_late_rank_has_the_shortest_durations(tmp_path):
    """From call 20 on one rank comes 3 ms late: it is named, since then, with its host."""
    found, document = answer(write_job(tmp_path, durations(60, 8, late={5: (20, 3000)})))
    finding = document.findings[0]
    assert found == [(LATE, (5,))]
    assert finding.culprits.hosts == ("node01",)
    assert finding.confidence <= 0.9
    assert finding.started_at == (1_795_378_762_000_000 + 20 * 20_000) * 1000
    assert finding.started_at < finding.detected_at < finding.started_at + 10 * 20_000_000
    assert any("assumed" in item.text for item in finding.evidence)


def test_two_late_ranks_are_both_named(tmp_path):
    """Each for itself, however much later the other comes."""
    took = durations(80, 8, late={2: (30, 3000), 6: (30, 2000)})
    assert answer(write_job(tmp_path, took))[0] == [(LATE, (2,)), (LATE, (6,))]


def test_a_healthy_job_is_healthy(tmp_path):
    """Who comes last changes from call to call."""
    found, document = answer(write_job(tmp_path, durations(200, 8)))
    assert found == []
    assert document.exit_code == 0


@pytest.mark.parametrize("seed", range(5))
def test_jitter_is_no_finding(tmp_path, seed):
    """Now and then one rank is very late; it is another each time."""
    took = durations(120, 8, seed=seed)
    random = np.random.default_rng(seed)
    for call in random.choice(120, 12, replace=False):
        rank = random.integers(8)
        took[call] += 3000
        took[call, rank] -= 3000
    assert answer(write_job(tmp_path, took))[0] == []


def test_a_rank_that_waited_elsewhere_is_a_victim(tmp_path):
    """Late in one group because it waited in another: the other's late rank is the cause."""
    inner = durations(60, 2, late={1: (20, 3000)}, seed=1)
    world = durations(60, 4, late={0: (20, 3000), 1: (20, 3000)}, seed=2)
    lines = [line(r, k, world[k, r], size=4) for k in range(60) for r in range(4)]
    pair = {"size": 2, "comm": "0x77", "name": "tp", "op": "AllGather", "nbytes": 1 << 20}
    lines += [line(r, k, inner[k, r], **pair) for k in range(60) for r in (0, 1)]
    found, _ = answer(write(tmp_path, lines))
    assert found == [(LATE, (1,))]


def test_longer_transfers_on_all_members_name_nobody(tmp_path):
    """All durations grow alike: the network, or all GPUs, and durations cannot tell where."""
    took = durations(60, 4)
    took[30:] *= 2
    found, document = answer(write_job(tmp_path, took))
    assert found == [("slow.uniform", ())]
    assert any("which link" in item.what for item in document.abstained)


def test_a_culprit_may_have_left_no_log(tmp_path):
    """The last of the recorded members took longer too, so an unrecorded one comes later still."""
    took = durations(60, 8, late={7: (20, 3000), 5: (20, 1500)})
    found, document = answer(write_job(tmp_path, took, ranks=[0, 1, 5]))
    assert found == []
    assert document.exit_code == 3
    assert "without a log" in document.abstained[0].why


def test_few_calls_are_not_judged(tmp_path):
    """Fewer than eight calls have no base."""
    found, document = answer(write_job(tmp_path, durations(7, 4, late={1: (0, 3000)})))
    assert found == []
    assert document.exit_code == 3


def test_sends_and_receives_alone_are_not_judged(tmp_path):
    """Their durations do not tell who made whom wait."""
    lines = []
    for k in range(30):
        one = line(k % 2, k, 100, size=2)
        one["p2p_perf"] = {"p2p": "Send", "p2p_sn": k, "p2p_peer": 1, "p2p_msg_size_bytes": 8, "p2p_exec_time_us": 100}
        del one["coll_perf"]
        lines.append(one)
    found, document = answer(write(tmp_path, lines))
    assert found == []
    assert document.exit_code == 3
    assert "sends and receives" in document.abstained[0].why


def test_a_log_that_ends_early_is_said_to(tmp_path):
    """Inspector shows finished operations only: a rank that stopped and a lost tail look alike."""
    took = durations(400, 4)
    lines = [line(r, k, took[k, r], size=4) for k in range(400) for r in range(4) if r != 2 or k < 200]
    found, document = answer(write(tmp_path, lines))
    assert found == []
    assert any("rank 2 stopped" in item.what for item in document.abstained)


def test_a_lateness_that_ended_is_ended(tmp_path):
    """It began, and it is over."""
    took = durations(200, 4)
    took[50:100] += 3000
    took[50:100, 3] -= 3000
    found, document = answer(write_job(tmp_path, took))
    assert found == [(LATE, (3,))]
    assert document.findings[0].ended_at is not None


def test_verbose_logs_go_through_the_engine(tmp_path):
    """With start times the engine judges, as it would live."""
    lines, late = [], 60_000
    random = np.random.default_rng(3)
    free = [1_795_378_762_000_000] * 4
    for k in range(160):
        arrive = [
            free[r] + 80_000 + int(random.integers(0, 800)) + (late if r == 1 and k >= 80 else 0) for r in range(4)
        ]
        end = max(arrive) + 1400
        lines += [line(r, k, end - arrive[r], size=4, trace=(arrive[r], end), at_us=end + 1000) for r in range(4)]
        free = [end] * 4
    found, document = answer(write(tmp_path, lines))
    assert found == [(LATE, (1,))]
    assert document.observed.iterations
    assert document.findings[0].detected_at > document.findings[0].started_at
