"""`offbeat diagnose` as a person or a script runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support_fr import Job
from support_inspector import durations, write_job

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"


def offbeat(*args):
    return subprocess.run(
        [sys.executable, "-m", "offbeat.cli.main", "diagnose", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def hung(tmp_path):
    job = Job(4)
    job.call()
    job.call(ranks=[0, 1, 3], done=False)
    return job.write(tmp_path / "hung")


@pytest.fixture
def healthy(tmp_path):
    job = Job(4)
    job.call()
    return job.write(tmp_path / "healthy")


def test_text_has_the_culprit_first_and_fits_the_screen(hung):
    """Class and culprit, why, victims, advice; eighty columns."""
    done = offbeat(hung)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[2] == "hang.not_entered (critical): rank 2"
    assert "rank 2 never launched all_reduce 2 of default_pg" in done.stdout.replace("\n    ", " ")
    assert "Victims: ranks 0, 1, 3." in done.stdout
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in done.stdout


def test_json_is_the_contracts_document(hung):
    """Only the document on stdout."""
    done = offbeat(hung, "--format", "json", "--job", "mine")
    document = json.loads(done.stdout)
    assert (document["schema"], document["job"], document["healthy"]) == ("offbeat.diagnosis/1", "mine", False)
    assert document["findings"][0]["culprits"]["ranks"] == [2]
    assert done.returncode == 1


def test_exit_codes(hung, healthy, tmp_path):
    """0 healthy, 1 not healthy, 3 could not tell, 64 wrong usage."""
    (tmp_path / "notes").write_text("x")
    assert offbeat(healthy).returncode == 0
    assert offbeat(hung, healthy).returncode == 1
    assert offbeat(tmp_path / "notes").returncode == 3
    assert offbeat(tmp_path / "absent").returncode == 3
    assert offbeat().returncode == 64
    assert offbeat(healthy, "--format", "xml").returncode == 64


def test_what_could_not_be_told_is_printed(tmp_path):
    """An abstention has its reason, and a warning its file."""
    (tmp_path / "notes.txt").write_text("x")
    write_job(tmp_path, durations(5, 2))
    done = offbeat(tmp_path)
    assert done.returncode == 3
    assert done.stdout.startswith("Could not tell.")
    assert "Could not be told:" in done.stdout
    # Where the lines break, even inside a name, depends on how long the directory's name is.
    assert "notes.txt:notaformatthatoffbeatreads" in "".join(done.stdout.split())


def test_a_topology_says_what_culprit_hosts_share(tmp_path):
    """Two slow hosts of one rack."""
    write_job(tmp_path / "logs", durations(80, 12, late={2: (30, 3000), 6: (30, 2000)}))
    hosts = [{"host": f"node{n:02d}", "rack": "r1", "nics": []} for n in range(3)]
    (tmp_path / "hosts.json").write_text(json.dumps(hosts))
    done = offbeat(tmp_path / "logs", "--topology", tmp_path / "hosts.json", "--format", "json")
    findings = json.loads(done.stdout)["findings"]
    assert [f["culprits"]["ranks"] for f in findings] == [[2], [6]]
    assert all(f["evidence"][-1]["text"] == "node00, node01 share rack r1" for f in findings)


@pytest.mark.parametrize("text", ['{"host": 1', "[1, 2]", "rack\nr1\n", ""])
def test_a_bad_topology_is_one_line(healthy, tmp_path, text):
    """Not a traceback."""
    (tmp_path / "hosts").write_text(text)
    done = offbeat(healthy, "--topology", tmp_path / "hosts")
    assert done.returncode == 3
    assert done.stderr.startswith("offbeat: --topology")
    assert done.stderr.count("\n") == 1


def test_it_runs_on_the_base_install(hung):
    """No pandas, scikit-learn, SQL or web library is loaded."""
    code = (
        "import sys; from offbeat.cli import main; code = main.run(['diagnose', sys.argv[1]]);"
        "bad = {'pandas', 'sklearn', 'sqlalchemy', 'fastapi', 'psycopg', 'torch'} & set(sys.modules);"
        "print(bad, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(hung)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.strip() == "set()"
    assert done.returncode == 1


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples beside the repository")
def test_a_real_hang_reads_well():
    """The whole answer of a real case, within the screen's width."""
    done = offbeat(SAMPLES / "flight_recorder_megatron" / "gpu_error_2nd")
    assert "hang.not_entered (critical): ranks 9, 14" in done.stdout
    assert "Victims: ranks 0-8, 10-13, 15." in done.stdout
    assert max(len(text) for text in done.stdout.splitlines()) <= 80
