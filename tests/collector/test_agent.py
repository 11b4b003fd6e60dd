"""The agent as a process: real rings in, a real service out, and every way to end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from support import wait_until as until
from telemetry_service import TelemetryService

from offbeat import records
from offbeat.collector.agent import Agent, _next
from offbeat.collector.ring.place import agent_present
from offbeat.reducer import expand
from offbeat.settings import AgentSettings

ROOT = Path(__file__).parents[2]


def wait_until(condition):
    """Wait as long as a busy machine may need to start a process."""
    return until(condition, 60)


class AgentProcess:
    """`offbeat agent`, running."""

    def __init__(self, directory, url, *flags, host="node1", **variables):
        command = [sys.executable, "-m", "offbeat.cli.main", "agent", "--host", host, "--url", url]
        command += ["--ring-dir", str(directory / "rings"), "--spool-dir", str(directory / "spool"), *flags]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OFFBEAT_")} | variables
        self.log = directory / f"agent-{time.monotonic_ns()}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def logged(self):
        """Return the log so far, a dictionary a line."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def printed(self):
        """Return what it printed and is no line of the log."""
        return [line for line in self.logged() if "event" not in line]

    def says(self, event):
        """Return the log lines of one kind."""
        return [line for line in self.logged() if line.get("event") == event]

    def end(self, how=signal.SIGTERM):
        """Send a signal and return the exit code."""
        self.process.send_signal(how)
        return self.process.wait(60)


@pytest.fixture
def agent(tmp_path, ring_dir):
    """Return a function that starts an agent on this test's directories; all are killed at the end."""
    started = []

    def start(url, *flags, **variables):
        started.append(AgentProcess(tmp_path, url, *flags, **variables))
        return started[-1]

    yield start
    for found in started:
        found.process.kill()
        found.process.wait()


def left(tmp_path):
    """Return the batches in the spool."""
    return sorted(path.name for path in (tmp_path / "spool").glob("*.batch"))


def test_from_ring_to_service(agent, service, trainer, tmp_path, ring_dir):
    """What a trainer does is at the service within a second or two: operations, identity, gauges, heartbeat."""
    running = agent(service.url)
    wait_until(lambda: service.rows("heartbeats"))
    child = trainer(rank=1)
    child.do("ops 5")
    child.do("open")
    told = time.monotonic()
    wait_until(lambda: any(row["state"] == "enqueued" for row in service.rows("collectives")))
    assert time.monotonic() - told < 15
    wait_until(lambda: any(row["rank"] == 1 for row in service.rows("gauges")))
    wait_until(lambda: any(row["ranks"] == [1] for row in service.rows("heartbeats")))
    assert {row["seq"] for row in service.rows("collectives")} == {0, 1, 2, 3, 4, 5}
    assert [row["rank"] for row in service.rows("ranks")] == [1]
    assert agent_present(ring_dir)
    beat = service.rows("heartbeats")[-1]
    assert beat["incarnation"] == next(iter(service.batches))
    assert beat["interval_ns"] == 1_000_000_000
    for batch in service.batches[beat["incarnation"]].values():
        for name, table in batch.items():
            assert table.schema.equals(records.schema(name), check_metadata=True)
    assert running.end() == 0
    assert left(tmp_path) == []


def test_presence_that_cannot_be_shown(agent, service, ring_dir):
    """A FIFO in the place of the file by which it shows itself does not hold the agent up."""
    os.mkfifo(ring_dir / "agent")
    agent(service.url)
    wait_until(lambda: len(service.rows("heartbeats")) >= 2)


def test_reduced(agent, service, trainer):
    """Where it is asked to, the agent sends sums and single operations in short, and as they are those under way."""
    agent(service.url, OFFBEAT_DETAIL="reduced")
    rank = trainer(rank=1)
    rank.do("ops 40")
    rank.do("open 0")
    wait_until(lambda: sum(len(row["duration"]) for row in service.rows("vectors")) >= 40)
    wait_until(lambda: service.rows("collectives"))
    rows = service.rows("vectors")
    told = expand(records.build("vectors", {name: [row[name] for row in rows] for name in rows[0]}))
    assert sorted(told["seq"].to_pylist()) == list(range(40))
    assert {(row["seq"], row["ended_at"]) for row in service.rows("collectives")} == {(40, None)}


def test_killed_trainer_is_told_and_its_ring_reaped(agent, service, trainer, ring_dir):
    """A killed rank is told within a second or so, and its ring goes once its rows are safe."""
    agent(service.url)
    child = trainer(rank=1)
    child.do("ops 3")
    wait_until(lambda: service.rows("collectives"))
    os.kill(child.pid, signal.SIGKILL)
    killed = time.monotonic()
    (event,) = wait_until(lambda: [row for row in service.rows("events") if row["kind"] == "process_exit"])
    assert time.monotonic() - killed < 15
    assert (event["rank"], event["code"]) == (1, -9)
    wait_until(lambda: not list(ring_dir.glob("*.ring")))


def test_stopped_trainer_is_told(agent, service, trainer):
    """A rank that is stopped is told soon, and so is its return."""
    agent(service.url)
    child = trainer(rank=1)
    child.do("ops 1")
    wait_until(lambda: service.rows("collectives"))
    os.kill(child.pid, signal.SIGSTOP)
    kinds = wait_until(lambda: [row["kind"] for row in service.rows("events")])
    assert kinds == ["process_stopped"]
    os.kill(child.pid, signal.SIGCONT)
    wait_until(lambda: [row["kind"] for row in service.rows("events")] == ["process_stopped", "process_running"])


def test_last_words(agent, service, trainer):
    """At SIGTERM the agent reads everything once more and sends it before it ends."""
    running = agent(service.url, OFFBEAT_POLL_SECONDS="30")
    wait_until(lambda: service.rows("heartbeats"))
    trainer().do("ops 9")
    assert running.end() == 0
    assert {row["seq"] for row in service.rows("collectives")} == set(range(9))
    (said,) = running.says("agent stopped")
    assert (said["left_batches"], said["left_bytes"]) == (0, 0)


@pytest.mark.slow
def test_outage_restart_and_return(agent, trainer, tmp_path, ring_dir):
    """Through an outage, a kill of the agent and the end of the trainer, everything arrives in the end."""
    url = f"unix://{tmp_path}/s"
    first = agent(url)
    child = trainer(rank=1)
    child.do("ops 6")
    wait_until(lambda: left(tmp_path))
    os.kill(child.pid, signal.SIGKILL)
    child.process.wait()
    wait_until(lambda: not list(ring_dir.glob("*.ring")))
    first.end(signal.SIGKILL)
    second = agent(url)
    wait_until(lambda: second.says("agent started"))
    assert second.says("agent started")[0]["recovered_batches"] > 0
    service = TelemetryService(unix_path=tmp_path / "s")
    wait_until(lambda: len(service.batches) == 2)
    wait_until(lambda: left(tmp_path) == [])
    assert {row["seq"] for row in service.rows("collectives")} == set(range(6))
    assert [row["code"] for row in service.rows("events") if row["kind"] == "process_exit"] == [-9]
    incarnations = [key[1] for key in service.keys]
    assert incarnations == sorted(incarnations)
    assert second.end() == 0
    service.close()


@pytest.mark.slow
def test_end_without_a_service_keeps_everything(agent, tmp_path, trainer):
    """An agent that is stopped during an outage ends in good time with exit code 0 and leaves its batches on disk."""
    running = agent(f"unix://{tmp_path}/absent")
    trainer().do("ops 2")
    wait_until(lambda: left(tmp_path))
    started = time.monotonic()
    assert running.end(signal.SIGINT) == 0
    assert time.monotonic() - started < 40
    assert len(left(tmp_path)) == running.says("agent stopped")[0]["left_batches"] > 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--host", "two words"), "host name 'two words'"),
        (("--url", "ftp://x"), "cannot use URL 'ftp://x'"),
        (("--config", "/nonexistent.toml"), "no such file: /nonexistent.toml"),
        (("--spool-dir", "/dev/null/x"), "cannot use spool directory"),
    ],
)
def test_wrong_use_is_said(agent, service, flags, message):
    """Settings that cannot work end the agent at once with exit code 64 and one line that says why."""
    running = agent(service.url, *flags)
    assert running.process.wait(60) == 64
    assert message in running.log.read_text()
    assert "Traceback" not in running.log.read_text()


def test_bad_setting_names_its_key(agent, service):
    """A variable of the wrong type is named."""
    running = agent(service.url, OFFBEAT_POLL_SECONDS="often")
    assert running.process.wait(60) == 64
    assert "poll_seconds" in running.log.read_text()


def test_second_agent_on_one_spool(agent, service):
    """A second agent on the same spool ends with exit code 64 and says whose spool it is."""
    first = agent(service.url)
    wait_until(lambda: first.says("agent started"))
    second = agent(service.url)
    assert second.process.wait(60) == 64
    assert "is in use by another agent" in second.log.read_text()


@pytest.mark.slow
def test_name_taken_by_another_agent(agent, service):
    """An agent whose host name the service gives to another ends with exit code 1 and the service's words."""
    service.fault = lambda _n, _key: (409, {}, {"detail": "claimed by a newer agent"})
    running = agent(service.url)
    assert running.process.wait(60) == 1
    assert "claimed by a newer agent" in running.log.read_text()


def test_config_file(agent, tmp_path):
    """Settings may come from a file; flags win over it."""
    service = TelemetryService(token="t0k")
    (tmp_path / "agent.toml").write_text(f'host = "from-file"\ntoken = "t0k"\nring_dir = "{tmp_path}/rings"\n')
    agent(service.url, "--config", str(tmp_path / "agent.toml"))
    (host, *_) = wait_until(lambda: service.keys)[0]
    assert host == "node1"
    service.close()


@pytest.mark.slow
def test_once_prints_and_leaves_no_trace(tmp_path, ring_dir, trainer):
    """`--once` prints what would be sent, as JSON too; it sends nothing, writes nothing, and takes no ring away."""
    child = trainer(rank=1)
    child.do("ops 3")
    child.process.kill()
    child.process.wait()
    flags = ["agent", "--once", "--host", "node1", "--ring-dir", str(ring_dir), "--spool-dir", str(tmp_path / "spool")]
    command = [sys.executable, "-m", "offbeat.cli.main", *flags]
    for _ in range(2):
        ran = subprocess.run([*command, "--output", "json"], capture_output=True, text=True, check=True)
        said = json.loads(ran.stdout)
        assert said["host"] == "node1"
        assert said["tables"]["collectives"]["rows"] == 3
        assert said["tables"]["events"]["sample"][0]["kind"] == "process_exit"
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.search(r"collectives\W+3", table)
    assert not (tmp_path / "spool").exists()
    assert len(list(ring_dir.glob("*.ring"))) == 1
    assert not (ring_dir / "agent").exists()


def offbeat(*arguments, **variables):
    """Run `offbeat agent` to its end."""
    command = [sys.executable, "-m", "offbeat.cli.main", "agent", *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OFFBEAT_")} | variables
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, env=environment)


def test_sink_stdout_prints_rows_and_sends_nothing(tmp_path, ring_dir, trainer):
    """With `--sink stdout` each row is a line of JSON, and no service, spool or ring is touched."""
    rank = trainer(rank=1)
    rank.do("ops 3")
    flags = ["--ring-dir", ring_dir, "--spool-dir", tmp_path / "spool", "--once", "--dry-run", "--sink", "stdout"]
    done = offbeat(*flags)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert sorted(row["seq"] for row in rows if row["table"] == "collectives") == [0, 1, 2]
    assert not (tmp_path / "spool").exists()
    assert not (ring_dir / "agent").exists()
    assert list(ring_dir.iterdir())


def test_dry_run_goes_on_until_it_is_stopped(agent, tmp_path, trainer, ring_dir):
    """`--dry-run` reads as the agent does and prints how many rows it would send."""
    running = agent("http://127.0.0.1:9", "--dry-run")
    trainer(rank=1).do("ops 3")
    wait_until(lambda: any(line.get("rows", {}).get("collectives") == 3 for line in running.printed()))
    assert running.end() == 0
    assert not (tmp_path / "spool").exists()


def test_injected_line(agent, service, tmp_path):
    """A made-up line arrives as an event where the node allows it; without `--really` nothing is made up."""
    line = "NVRM: Xid (PCI:0000:9b:00): 79, GPU has fallen off the bus."
    spool = ["--spool-dir", tmp_path / "spool"]
    careless = offbeat("inject", *spool, line)
    assert (careless.returncode, "--really" in careless.stderr) == (64, True)
    nobody = offbeat("inject", *spool, "--really", line)
    assert nobody.returncode == 3
    assert "OFFBEAT_INJECT=true" in nobody.stderr
    agent(service.url, OFFBEAT_INJECT="true")
    wait_until((tmp_path / "spool" / "inject").is_dir)
    assert offbeat("inject", *spool, "--really", line).returncode == 0
    wait_until(lambda: [row["code"] for row in service.rows("events") if row["kind"] == "xid"] == [79])


def test_beats_that_were_missed_are_left_out():
    """A reader that was held up goes on at the next beat, without making up for those it missed."""
    assert _next(10.0, 0.25, 10.1) == 10.25
    assert _next(10.0, 0.25, 10.25) == 10.5
    assert _next(10.0, 0.25, 13.1) == 13.25


def test_polls_are_closer_when_something_is_urgent(tmp_path, service):
    """Where only sums are sent, polls are half as frequent until something is urgent."""
    options = {"host": "a", "url": service.url, "ring_dir": tmp_path / "rings"}
    for detail, calm in (("raw", 0.25), ("reduced", 0.5)):
        agent = Agent(AgentSettings(**options, detail=detail, spool_dir=tmp_path / detail))
        assert agent._period() == calm
        agent.readers.collection.urgent = True
        agent.poll(sample=False)
        assert agent._period() == 0.25
        agent.close()


def test_unit_file_runs_this_command():
    """The systemd unit runs `offbeat agent`, waits for its readiness, and gives it time to send its last batches."""
    text = (ROOT / "packaging/offbeat-agent.service").read_text()
    assert re.search(r"^ExecStart=.*\boffbeat agent$", text, re.MULTILINE)
    for line in (
        "Type=notify",
        "Restart=always",
        "NoNewPrivileges=true",
        "ProtectSystem=strict",
        "Slice=offbeat.slice",
    ):
        assert f"\n{line}\n" in text
    assert int(re.search(r"^TimeoutStopSec=(\d+)", text, re.MULTILINE)[1]) > 10
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["offbeat"] == "offbeat.cli.main:main"
