"""`offbeat doctor --service`."""

import json

from batches import gauges, send

from offbeat.settings import ServiceSettings
from offbeat.store import open_store


def look(cli, directory, **settings):
    """Return the checks by part, and the exit code."""
    done = cli("doctor", "--service", "-o", "json", OFFBEAT_DATA_DIR=str(directory), OFFBEAT_PORT="9", **settings)
    return {check["part"]: check for check in json.loads(done.stdout)["checks"]}, done.returncode


def test_an_empty_directory_is_no_fault_and_stays_empty(cli, tmp_path):
    """Before the first start nothing is wrong, and looking creates nothing."""
    checks, code = look(cli, tmp_path / "none")
    assert (checks["database"]["state"], checks["data directory"]["state"], code) == ("missing", "missing", 0)
    assert not (tmp_path / "none").exists()


def test_a_missing_segment_and_a_readable_key_are_named(cli, tmp_path):
    """A segment file that is gone, or a key that others may read, is wrong, and the exit code says so."""
    with open_store(ServiceSettings(data_dir=tmp_path)) as store:
        send(store.telemetry, 1, gauges([1.0]))
    checks, _ = look(cli, tmp_path)
    assert (checks["database"]["state"], checks["segments"]["state"], checks["token key"]["state"]) == ("ok",) * 3
    gone = next((tmp_path / "segments").iterdir())
    gone.unlink()
    (tmp_path / "pepper").chmod(0o644)
    checks, code = look(cli, tmp_path)
    assert (checks["segments"]["state"], checks["token key"]["state"], code) == ("wrong", "wrong", 1)
    assert gone.name in checks["segments"]["seen"]


def test_a_database_that_does_not_answer_is_wrong(cli, tmp_path):
    """The reason is told, the password is not."""
    url = "postgresql://offbeat:hidden-word@127.0.0.1:9/offbeat"
    checks, code = look(cli, tmp_path, OFFBEAT_DATABASE_URL=url)
    assert (checks["database"]["state"], code) == ("wrong", 1)
    assert "hidden-word" not in json.dumps(checks)
