"""Which job and attempt a process belongs to."""

import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector.recorders.identity import agree_on_attempt, job_name, local_rank, sanitise

NAMES = ("OFFBEAT_JOB", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """Start without any of the variables that name a job."""
    for name in (*NAMES, "OFFBEAT_ATTEMPT", "TORCHELASTIC_RESTART_COUNT", "LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)


def test_first_name_that_is_given_counts(monkeypatch):
    """From the launcher's address up to OFFBEAT_JOB, each name overrides the one before."""
    store = SimpleNamespace(underlying_store=SimpleNamespace(host="10.0.0.1", port=29500))
    assert job_name(None, None) == "torch-job"
    assert job_name(None, store) == "torch-10.0.0.1-29500"
    assert job_name("file:///tmp/meet", store) == "torch-tmp-meet"
    monkeypatch.setenv("MASTER_ADDR", "head")
    monkeypatch.setenv("MASTER_PORT", "1234")
    assert job_name("env://", store) == "torch-head-1234"
    assert job_name("tcp://node7:99", store) == "torch-node7-99"
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert job_name("tcp://node7:99") == "4711"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")  # torchrun's word for no id
    assert job_name("tcp://node7:99") == "4711"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run/1")
    assert job_name() == "run-1"
    monkeypatch.setenv("OFFBEAT_JOB", "my job")
    assert job_name() == "my-job"


@given(st.text())
def test_any_text_becomes_a_name(text):
    """Whatever a job is called, its name has 1 to 128 plain characters."""
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", sanitise(text))


class Store(dict):
    """A store that keeps the first value of a key."""

    def compare_set(self, key, expected, desired):
        """Set a key that is not there; return what is there."""
        assert expected == ""
        return self.setdefault(key, desired).encode()


def test_first_rank_decides_the_attempt():
    """All ranks get the number of the first; another turn or restart is another, later attempt."""
    store = Store()
    first = agree_on_attempt(store, 0, 0)
    assert agree_on_attempt(store, 0, first + 50) == first
    assert agree_on_attempt(store, 1, first) == first + 1
    assert agree_on_attempt(store, 1, first) == first + 1


def test_restart_is_another_attempt(monkeypatch):
    """Where a launcher restarts the ranks and its store lives on, they do not take the old number."""
    store = Store()
    agree_on_attempt(store, 0, 0)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    agree_on_attempt(store, 0, 0)
    assert len(store) == 2


def test_store_that_fails(monkeypatch):
    """Without a store the attempt is what OFFBEAT_ATTEMPT says, else 0."""
    assert agree_on_attempt(object(), 0, 0) == 0
    monkeypatch.setenv("OFFBEAT_ATTEMPT", "12")
    assert agree_on_attempt(object(), 0, 0) == 12


def test_local_rank(monkeypatch):
    """The launcher's number, -1 where it says none."""
    assert local_rank() == -1
    monkeypatch.setenv("SLURM_LOCALID", "2")
    assert local_rank() == 2
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert local_rank() == 3
