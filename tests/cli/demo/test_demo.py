"""The whole demo, as a person runs it."""

import importlib.util
import re
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir

import pytest
from support import wait_until

from offbeat.cli import main
from offbeat.cli.demo.run import scratch

DEMO = [sys.executable, "-m", "offbeat.cli.main", "demo"]


def left_over(pid):
    """Return what a demo that ran as *pid* left behind: processes, namespaces, directories."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"/offbeat-demo-{pid}-".encode() in entry.read_bytes():
                found.append(entry.parent.name)
        except OSError:
            continue  # another user's, or gone
    files = [*Path("/run/netns").glob(f"offbeat-{pid}-*"), *Path(gettempdir()).glob(f"offbeat-demo-{pid}-*")]
    return found + [path.name for path in files]


def read(path):
    """Return what a demo has printed so far."""
    return path.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_fault_is_named_and_nobody_else(tmp_path):
    """The demo makes its faults, the service names each and nobody else, the exit code is 0 and nothing is left."""
    pytest.importorskip("torch")
    with (tmp_path / "out").open("w+", encoding="utf-8") as out:
        demo = subprocess.Popen([*DEMO, "--seed", "3"], stdout=out, stderr=subprocess.STDOUT)
        try:
            code = demo.wait(380)
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(30)
    said = read(tmp_path / "out")
    assert code == 0, said
    assert re.search(r"Hosts: .*(network namespaces|plain processes)", said)
    assert re.search(r"Dashboard: http://127\.0\.0\.1:\d+/", said)
    assert "0 false alarms" in said
    assert left_over(demo.pid) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(tmp_path, number):
    """Interrupted while the job starts, and again, the demo ends all it started, removes its namespaces, says 130."""
    pytest.importorskip("torch")
    with (tmp_path / "out").open("w+", encoding="utf-8") as out:
        demo = subprocess.Popen(DEMO, stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: demo.poll() is not None or "Job:" in read(tmp_path / "out"), 60)
            assert demo.poll() is None, read(tmp_path / "out")
            wait_until(lambda: len(left_over(demo.pid)) > 6)
        finally:
            demo.send_signal(number)
            demo.send_signal(signal.SIGINT)
        assert demo.wait(40) == 130
    assert left_over(demo.pid) == []


def test_a_long_path_for_temporary_files_is_not_used(monkeypatch):
    """The path of a Unix socket holds about a hundred characters, whatever TMPDIR says."""
    monkeypatch.setattr("tempfile.tempdir", "/var/tmp/" + "x" * 90)
    with scratch() as root:
        assert root.startswith("/tmp/")
    monkeypatch.setattr("tempfile.tempdir", "/var/tmp")
    with scratch() as root:
        assert root.startswith("/var/tmp/")


def test_what_it_needs_is_said(monkeypatch, capsys):
    """Without torch the demo does not start, and says what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert main.run(["demo"]) == 3
    assert "pip install 'offbeat[demo]'" in capsys.readouterr().err
