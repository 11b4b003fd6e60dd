"""How a process that is not our child ended."""

import os
import signal
import subprocess
import sys

import pytest
from support import wait_until

from offbeat.collector.exits import ExitWatch

HOLDER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.readline()
child.stdin.close()
if sys.argv[2] == "reap":
    child.wait()
    print("reaped", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def stranger():
    """Return a function that starts a process which is somebody else's child; all end with the test."""
    started = []

    def start(code, reap):
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, code, "reap" if reap else "leave"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(holder)
        return holder, int(holder.stdout.readline())

    yield start
    for holder in started:
        holder.kill()
        holder.stdin.close()
        holder.stdout.close()
        holder.wait()


@pytest.mark.parametrize("reap", [False, True])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import sys; sys.stdin.read(); sys.exit(7)", 7),
        ("import sys; sys.stdin.read()", 0),
        ("import os, sys; sys.stdin.read(); os.kill(os.getpid(), 11)", -signal.SIGSEGV),
    ],
)
def test_how_a_stranger_ended(stranger, code, expected, reap):
    """The exit code or the signal of a process that is not our child is told, collected by its parent or not yet."""
    holder, pid = stranger(code, reap)
    watch = ExitWatch(pid)
    assert not watch.ended()
    holder.stdin.write("end\n")
    holder.stdin.flush()
    wait_until(watch.ended)
    if reap:
        assert holder.stdout.readline() == "reaped\n"
        if watch.code() is None:
            pytest.skip("this kernel does not keep how a process ended (before 6.15)")
    assert watch.code() == expected
    watch.close()


def test_killed_while_stopped(stranger):
    """A process that is stopped and then killed was ended by signal 9."""
    _, pid = stranger("import sys; sys.stdin.read()", reap=False)
    watch = ExitWatch(pid)
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    wait_until(watch.ended)
    assert watch.code() == -9
    watch.close()


def test_process_that_runs_has_no_code(stranger):
    """A process that still runs has not ended in any way."""
    _, pid = stranger("import sys; sys.stdin.read()", reap=False)
    watch = ExitWatch(pid)
    assert watch.code() is None
    watch.close()


def test_no_such_process():
    """A process that is not there cannot be watched."""
    with pytest.raises(ProcessLookupError):
        ExitWatch(2**22 - 1)
