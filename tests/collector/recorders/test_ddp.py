"""All that DistributedDataParallel's reducer does is seen, and nothing that is trained changes by a bit."""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CASES = (
    *("default", "views", "views_kept", "unused", "static", "no_buffers", "sparse"),
    *("own_hook", "late_hook", "compress", "builtin", "late_builtin"),
    *("join", "join_late", "join_late_by_active"),
)
ON_THREE = ("default", "views", "views_kept", "unused", "sparse", "late_builtin", "join_late_by_active")


def operations(recorded, case):
    """Return the operations a rank launched in a case."""
    begin, end = (m.at_ns for m in recorded.poll.messages if m.text == case and m.kind.startswith("phase"))
    return [o for o in recorded.completed if begin <= o["enqueued"] <= end]


@pytest.mark.parametrize(("world", "cases", "more"), [(2, CASES, ("twice",)), (3, ON_THREE, ())])
def test_every_way_to_train(launch, world, cases, more):
    """In each case the result is the same to the bit, and the buckets of each step are seen, alike on all ranks."""
    recorded, plain = (launch("ddp.py", world, ",".join(cases), *more, RECORDED=on).succeed() for on in "10")
    for rank in range(world):
        assert recorded.results(rank) == plain.results(rank)
    seen = [recorded.recorded(rank) for rank in range(world)]
    for case in cases:
        reductions = [o for o in operations(seen[0], case) if o["native"] == "allreduce"]
        assert len(reductions) >= 4, case  # at least one bucket a step
        assert all(o["state"] == 2 and o["flags"] == 0 for o in reductions)
    assert {o["native"] for o in operations(seen[0], "default")} == {
        *("allreduce", "broadcast", "_broadcast_coalesced", "_verify_params_across_processes"),
    }
    assert [o for o in operations(seen[0], "unused") if o["dtype"] == "int32" and o["native"] == "allreduce"]
    assert all(rank.sequence() == seen[0].sequence() for rank in seen)
    assert all(rank.open == [] and rank.notes == [] for rank in seen)


def test_compiled_models(launch):
    """Models compiled inside or outside of DistributedDataParallel are trained the same, and their buckets are seen."""
    recorded, plain = (launch("compiled.py", 2, RECORDED=on).succeed() for on in "10")
    for rank in (0, 1):
        assert recorded.results(rank) == plain.results(rank)
    seen = recorded.recorded(0)
    natives = seen.count("native")
    assert natives[("allreduce",)] == 6
    assert natives[("functional.all_reduce",)] == 1  # the one in a graph is not
    assert len(seen.notes) == 1


def test_model_made_before_recording(launch):
    """Recording that starts late still sees the buckets of a model that was there."""
    job = launch("compiled.py", 2, RECORDED="late").succeed()
    assert job.recorded(1).count("native", "nbytes") == {("allreduce", 80): 1}
