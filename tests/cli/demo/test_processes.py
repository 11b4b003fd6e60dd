"""The demo's processes end with it, whatever state they are in."""

import os
import signal
import sys
from contextlib import suppress

from support import wait_until

from offbeat.cli.demo.processes import Process, Processes

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def gone(pid):
    """Return whether there is no process *pid*."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_all_end_with_the_context(tmp_path, monkeypatch):
    """Running, stopped and stubborn processes are gone after the context, though it ends by an exception."""
    monkeypatch.setattr("offbeat.cli.demo.processes.STOP_SECONDS", 0.5)
    with suppress(KeyboardInterrupt), Processes() as processes:
        plain = processes.start([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "plain")
        stopped = processes.start([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "stopped")
        stopped.send(signal.SIGSTOP)
        stubborn = processes.start([sys.executable, "-c", STUBBORN], tmp_path / "stubborn")
        wait_until(lambda: "up" in stubborn.tail())
        raise KeyboardInterrupt
    assert all(gone(process.pid) for process in (plain, stopped, stubborn))


def test_output_and_exit_code_are_kept(tmp_path):
    """What a process says, on both streams, is in its log, and its exit code is known."""
    process = Process([sys.executable, "-c", "import sys; print('a'); sys.exit('b')"], tmp_path / "log")
    assert process.wait(20)
    assert process.exit_code == 1
    assert sorted(process.tail().split()) == ["a", "b"]


def test_a_session_of_its_own(tmp_path):
    """Ctrl-C in the demo's terminal does not reach its processes before the demo does."""
    with Processes() as processes:
        process = processes.start([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")
        assert os.getsid(process.pid) == process.pid
