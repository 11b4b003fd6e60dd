"""A host is lost outright: its keeper and trainer are killed, its memory is gone, and a spare goes on in its place."""

import base64
import json
import os
import shutil
import signal

import pytest
from keeper_processes import digests, free_port, output, ranks, started
from support import wait_until

STEPS, HOSTS = 12, 3
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def write_rosters(memory, ports, ranks_of):
    """Give every host the roster."""
    hosts = [{"name": h, "address": f"127.0.0.1:{ports[h]}", "ranks": [rank]} for rank, h in enumerate(ranks_of)]
    text = {
        "schema": "offbeat.roster/1",
        "job": "job",
        "secret": base64.b64encode(os.urandom(32)).decode(),
        "hosts": hosts,
    }
    for host in ports:
        path = memory / f"rosters-{host}" / "job.json"
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(text))


def test_a_lost_host_is_rebuilt_on_a_spare(memory, keepers):
    """Three hosts with a DDP rank each, 2+1: one is killed with its memory, the job ends as if nothing had been."""
    names = [*"abc", "spare"]
    ports = {name: free_port() for name in names}
    write_rosters(memory, ports, "abc")
    running = {name: keepers(name, keeper_rosters=memory / f"rosters-{name}") for name in names}
    directories = [running[name].directory for name in "abc"]
    reference = [digests(output(process)) for process in ranks(directories, STEPS, SNAPSHOTS=0, WRAP="ddp")]
    first = ranks(directories, 100_000, 0.05, WRAP="ddp", quiet=True)
    wait_until(lambda: all(running[name].committed("job") >= 2 for name in "abc"), 200)
    first[1].send_signal(signal.SIGKILL)
    running["b"].kill()
    shutil.rmtree(memory / "b")
    for process in first:
        process.kill()
        process.communicate(timeout=20)
    committed = running["a"].committed("job")
    write_rosters(memory, ports, ["a", "spare", "c"])
    directories[1] = running["spare"].directory
    second = [output(process) for process in ranks(directories, max(STEPS, committed + 4), WRAP="ddp")]
    begins = {started(lines) for lines in second}
    assert begins == {committed + 1}
    whole = reference
    if committed + 4 > STEPS:  # a slow machine coded late: compare with a run that is as long
        whole = [digests(output(p)) for p in ranks(directories, committed + 4, SNAPSHOTS=0, WRAP="ddp")]
    for rank, lines in enumerate(second):
        found = digests(lines)
        assert found == {step: whole[rank][step] for step in found}
        assert len(found) >= 3
