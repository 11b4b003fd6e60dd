"""Ranks started by Slurm and Kubernetes: real processes with the variables of their launchers, and a copied tree."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector.launches import cgroup_path, cgroup_values, visible_gpu
from offbeat.collector.source import LocalRank, NoData
from offbeat.collector.sources.kubernetes import KubernetesSource, job_of_pod
from offbeat.collector.sources.slurm import SlurmSource

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "pretrain",
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_LOCALID": "1",
    "CUDA_VISIBLE_DEVICES": "4,6",
}
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "llama-worker-3", "RANK": "5", "WORLD_SIZE": "8"}


def rows(source, ranks, **options):
    """Return what a source says of some ranks, by table."""
    found = source("node1", lambda: ranks, poll_seconds=0, **options).read()
    return {name: table.to_pylist() for name, table in found.items()}


@pytest.mark.parametrize(
    ("source", "environment", "name", "gpu"),
    [
        (SlurmSource, SLURM, "pretrain (4711)", 6),
        (SlurmSource, {k: v for k, v in SLURM.items() if k != "SLURM_JOB_NAME"}, "4711", 6),
        (KubernetesSource, POD, "llama", None),
        (KubernetesSource, POD | {"JOB_NAME": "mine", "CUDA_VISIBLE_DEVICES": "3"}, "mine", 3),
    ],
)
def test_a_real_rank(process, source, environment, name, gpu):
    """A rank's job has the name its launcher gave, and the rank its GPU."""
    started = process("input()", env=environment | {"PATH": os.environ["PATH"]})
    found = rows(source, [LocalRank("job-1", 3, 5, started.pid)])
    assert [(row["job"], row["attempt"], row["name"], row["world"]) for row in found["jobs"]] == [("job-1", 3, name, 8)]
    assert [(row["rank"], row["gpu"]) for row in found.get("ranks", [])] == ([] if gpu is None else [(5, gpu)])


def test_a_rank_that_is_just_starting(tmp_path):
    """A rank whose variables the kernel does not show yet is looked at again, not given up."""
    environ = tmp_path / "proc" / "77" / "environ"
    environ.parent.mkdir(parents=True)
    environ.write_bytes(b"")
    rank = LocalRank("job-1", 3, 5, 77)
    source = SlurmSource("node1", lambda: [rank], proc=tmp_path / "proc", sys=tmp_path / "sys", poll_seconds=0)
    with pytest.raises(NoData):
        source.read()
    environ.write_bytes(b"\0".join(f"{k}={v}".encode() for k, v in SLURM.items()))
    assert source.read()["ranks"].to_pylist()[0]["gpu"] == 6


@pytest.mark.parametrize("source", [SlurmSource, KubernetesSource])
def test_other_ranks(process, source):
    """Ranks of no launcher, and of the other one, are left alone."""
    started = process("input()", env={"RANK": "5", "PATH": os.environ["PATH"]})
    with pytest.raises(NoData):
        rows(source, [LocalRank("job-1", 3, 5, started.pid), LocalRank("job-1", 3, 6, 1 << 30)])


def test_a_rank_that_numbers_itself(process, tmp_path):
    """Where the launcher's number is not the rank's, its size and its places are not taken for the job's."""
    started = process("input()", env=SLURM | {"PATH": os.environ["PATH"]})
    with pytest.raises(NoData):
        rows(SlurmSource, [LocalRank("job-1", 3, 40, started.pid)], sys=tmp_path)


def test_identities_are_told_once(tmp_path):
    """Who a rank is is told when it is new; what its cgroup denied it, every time."""
    process = tmp_path / "proc" / "77"
    process.mkdir(parents=True)
    (process / "environ").write_bytes(b"\0".join(f"{k}={v}".encode() for k, v in SLURM.items()))
    (process / "cgroup").write_text("0::/system.slice/slurmstepd.scope/job_4711\n")
    group = tmp_path / "sys" / "fs" / "cgroup" / "system.slice" / "slurmstepd.scope" / "job_4711"
    group.mkdir(parents=True)
    (group / "cpu.stat").write_text("usage_usec 5\nnr_throttled 3\nthrottled_usec 2500000\n")
    (group / "memory.current").write_text("1024\n")
    (group / "memory.max").write_text("max\n")
    (group / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
    source = SlurmSource(
        "node1", lambda: [LocalRank("job-1", 3, 5, 77)], proc=tmp_path / "proc", sys=tmp_path / "sys", poll_seconds=0
    )
    assert set(source.read()) == {"jobs", "ranks", "gauges"}
    found = source.read()
    assert set(found) == {"gauges"}
    assert {(row["metric"], row["value"], row["rank"]) for row in found["gauges"].to_pylist()} == {
        ("cgroup_cpu_throttled_seconds", 2.5, 5),
        ("cgroup_oom_kills_total", 1, 5),
        ("cgroup_memory_bytes", 1024, 5),
    }


@pytest.mark.parametrize(
    ("pod", "job"),
    [
        ("llama-worker-3", "llama"),
        ("llama-7b-master-0", "llama-7b"),
        ("train-0-12", "train"),
        ("train-3-abcde", "train"),
        ("notebook", "notebook"),
        ("", ""),
    ],
)
def test_jobs_of_pods(pod, job):
    """What tells the pods of a job apart is not in its name."""
    assert job_of_pod(pod) == job


@pytest.mark.parametrize(
    ("visible", "local", "gpu"),
    [("0,1,2,3", 2, 2), ("7", 3, 7), ("4,6", 5, None), ("GPU-aaaa", 0, None), ("", 0, None), ("0,1", -1, None)],
)
def test_visible_gpus(visible, local, gpu):
    """A rank uses the device of its place among those it may see, if these are numbers."""
    assert visible_gpu({"CUDA_VISIBLE_DEVICES": visible}, local) == gpu


@given(st.binary(max_size=200), st.text(max_size=40))
def test_whatever_the_files_say(tmp_path_factory, data, text):
    """No content of cgroup files, and no pod's name, makes reading fail; no path leads out of the hierarchy."""
    root = tmp_path_factory.mktemp("cgroup")
    (root / "7").mkdir()
    for name in ("cgroup", "cpu.stat", "memory.events", "memory.current", "memory.max"):
        (root / "7" / name).write_bytes(data)
    assert ".." not in cgroup_path(7, root)
    cgroup_values("/7", root)
    job_of_pod(text)
    visible_gpu({"CUDA_VISIBLE_DEVICES": text}, 1)
