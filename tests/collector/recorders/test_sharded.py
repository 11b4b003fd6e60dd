"""Sharded training: FSDP1, FSDP2, DTensor and tensor parallelism."""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_sharded_training_is_seen_and_unchanged(launch):
    """FSDP's operations and functional collectives called in eager mode are recorded; results are the same."""
    recorded = launch("sharded.py", 2, RECORDED="1").succeed()
    plain = launch("sharded.py", 2, RECORDED="0").succeed()
    assert recorded.results(0) == plain.results(0)
    assert recorded.results(1) == plain.results(1)
    first, second = recorded.recorded(0), recorded.recorded(1)
    assert first.sequence() == second.sequence()
    assert first.open == []
    assert all(o["state"] == 2 for o in first.completed)

    def count(phase):
        begin, end = (m.at_ns for m in first.poll.messages if m.text == phase)
        inside = [o for o in first.completed if begin <= o["enqueued"] <= end]
        return {op: sum(o["op"] == op for o in inside) for op in {o["op"] for o in inside}}

    # Two layers: each gathered in forward (the second stays for backward's start, the first is gathered again).
    fsdp2 = count("fsdp2")
    assert fsdp2["reduce_scatter"] == 6
    assert fsdp2["all_gather"] >= 6
    fsdp1 = count("fsdp1")
    assert fsdp1["reduce_scatter"] == 3
    assert fsdp1["all_gather"] >= 3
    assert count("dtensor")["all_gather"] == 1
    assert count("tp")["all_reduce"] == 3
    assert any("functional collectives of compiled graphs" in note for note in first.notes)
