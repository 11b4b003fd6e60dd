"""Reading commands against a running service."""

import json
import re
import time

import pytest
from findings import put_job

from offbeat.settings import ServiceSettings
from offbeat.store import open_store


def content(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_status_is_one_screen_of_80_columns(offbeat):
    """Service, job with beat and open incident, within 80 columns and 24 lines."""
    done = offbeat("status")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    for word in ("train", "running", "187 ms", "slow.compute", "rank 5"):
        assert word in done.stdout


@pytest.mark.parametrize("command", ["status", "jobs", "incidents", "nodes"])
def test_no_colours_outside_a_terminal(offbeat, command):
    """What is piped has no escape codes; NO_COLOR is honoured even where colour is forced."""
    assert "\x1b" not in offbeat(command).stdout
    assert not re.search(r"\x1b\[[0-9;]*3\dm", offbeat(command, FORCE_COLOR="1", NO_COLOR="1").stdout)


@pytest.mark.parametrize(
    ("args", "schema"),
    [
        (["status"], "offbeat.status/1"),
        (["jobs"], "offbeat.jobs/1"),
        (["jobs", "show", "train"], "offbeat.job/1"),
        (["incidents"], "offbeat.incidents/1"),
        (["nodes"], "offbeat.nodes/1"),
        (["nodes", "show", "node1"], "offbeat.node/1"),
        (["token", "list"], "offbeat.tokens/1"),
        (["webhook", "list"], "offbeat.webhooks/1"),
    ],
)
def test_every_reading_command_speaks_json(offbeat, args, schema):
    """Programs get JSON that names its shape."""
    assert content(offbeat(*args, "--output", "json"))["schema"] == schema


def test_options_of_the_group_hold_for_its_command(offbeat):
    """`offbeat jobs -o json show train` is the same as with the option at the end."""
    assert content(offbeat("jobs", "-o", "json", "show", "train"))["job"]["id"] == "train"


def test_a_job_shows_where_its_ranks_run(offbeat):
    """`jobs show` has the beat and the ranks of each host."""
    done = offbeat("jobs", "show", "train")
    assert re.search(r"node1\s+4 5 6 7\s+1004", done.stdout)
    assert "▇" in done.stdout or "█" in done.stdout


def test_an_incident_shows_its_evidence(offbeat):
    """`incidents show` says who, what to do, and why."""
    (incident,) = content(offbeat("incidents", "--class", "slow.compute", "-o", "json"))["items"]
    done = offbeat("incidents", "show", incident["id"])
    for words in ("Rank 5 on node1", "8 s after it began", "97%", "inspect", "Own time of rank 5 is 142 ms"):
        assert words in done.stdout
    assert re.search(r"before +#+ +93 ms\n +now +#{24} +142 ms", done.stdout)
    assert "opened as warning: rank 5, host node1" in done.stdout
    assert "No incidents" in offbeat("incidents", "--job", "other").stdout


@pytest.mark.parametrize("args", [["jobs", "show", "none"], ["incidents", "show", "none"], ["nodes", "show", "none"]])
def test_what_is_not_there_is_one_line(offbeat, args):
    """Asking for something unknown ends with 3 and one line."""
    done = offbeat(*args)
    assert done.returncode == 3
    assert done.stderr.startswith("offbeat: there is no")
    assert done.stderr.count("\n") == 1


def test_a_wrong_filter_says_what_is_allowed(offbeat):
    """A state that does not exist is refused with the ones that do."""
    done = offbeat("incidents", "--state", "asleep")
    assert done.returncode == 3
    assert "acknowledged" in done.stderr


@pytest.mark.parametrize("command", ["status", "jobs", "incidents", "nodes"])
def test_a_service_that_is_away_is_one_line(cli, command):
    """Nobody listening: one line that says where and what to do, exit code 3."""
    done = cli(command, OFFBEAT_URL="http://127.0.0.1:9")
    assert done.returncode == 3
    assert re.fullmatch(r"offbeat: cannot reach http://127.0.0.1:9: .*; is 'offbeat up' running\?\n", done.stderr)


def test_wrong_and_missing_tokens_are_told(cli, up, tmp_path):
    """Without a token the line says how to give one; with a wrong one, that it is not known."""
    nowhere = {"OFFBEAT_URL": up.url, "OFFBEAT_DATA_DIR": str(tmp_path)}
    without = cli("jobs", **nowhere)
    assert (without.returncode, "OFFBEAT_TOKEN" in without.stderr) == (3, True)
    wrong = cli("jobs", "--token", "obt_" + "0" * 12 + "_" + "x" * 43, **nowhere)
    assert (wrong.returncode, "not known" in wrong.stderr) == (3, True)


def test_an_address_that_is_none_is_a_usage_error(cli):
    """A URL of another kind ends with 64."""
    assert cli("jobs", "--url", "localhost:8844").returncode == 64


def test_names_from_elsewhere_cannot_paint_the_terminal(up, offbeat):
    """Control characters and markup in a job's name are shown, not obeyed."""
    with open_store(ServiceSettings(data_dir=up.directory)) as store:
        put_job(store, "[b]e\x1b[31m\x07", now=time.time_ns() - 10**12, windows=1)
    done = offbeat("jobs")
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert "[b]e�[31m�" in done.stdout


def test_a_row_is_a_line_in_a_pipe(up, offbeat):
    """Where no terminal is, a name of any length stays in one piece, for grep."""
    name = "x" * 200
    with open_store(ServiceSettings(data_dir=up.directory)) as store:
        put_job(store, name, now=time.time_ns() - 10**12, windows=1)
    assert name not in offbeat("jobs").stdout
    assert name in offbeat("jobs", COLUMNS="").stdout
    assert max(map(len, offbeat("status", COLUMNS="").stdout.splitlines())) < 400


def test_doctor_says_what_is_there(cli, tmp_path):
    """Each part has a state and what it is good for; a missing one is no failure."""
    done = cli(
        "doctor",
        "-o",
        "json",
        OFFBEAT_URL="http://127.0.0.1:9",
        OFFBEAT_SPOOL_DIR=str(tmp_path),
        OFFBEAT_SPOOL_BYTES="1",
    )
    checks = {check["part"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["reach"]["state"] == "missing"
    assert checks["service"]["state"] == "ok"
    assert all(check["adds"] for check in checks.values())
    assert done.returncode == (1 if any(check["state"] == "wrong" for check in checks.values()) else 0)


def test_a_timeline_is_exported(offbeat, tmp_path):
    """`export --perfetto` writes a trace of a job or around an incident, and says where to open it."""
    file = tmp_path / "t.pftrace"
    done = offbeat("export", "--perfetto", str(file), "--job", "train", "--last", "5")
    assert done.returncode == 0, done.stderr
    assert "ui.perfetto.dev" in done.stdout
    assert file.stat().st_size > 0
    (incident,) = content(offbeat("incidents", "--class", "slow.compute", "-o", "json"))["items"]
    done = offbeat("export", "--perfetto", str(file), "--incident", incident["id"])
    assert done.returncode == 0, done.stderr
    assert b"train is slowed by the computation of rank 5" in file.read_bytes()


def test_an_export_that_cannot_be_is_one_line(offbeat, tmp_path):
    """Neither job nor incident, both times at once, and a directory that is not there."""
    file = str(tmp_path / "no/t.pftrace")
    assert offbeat("export", "--perfetto", file).returncode == 64
    assert offbeat("export", "--perfetto", file, "--incident", "x", "--last", "5").returncode == 64
    done = offbeat("export", "--perfetto", file, "--job", "train")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
