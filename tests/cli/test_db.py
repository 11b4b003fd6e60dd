"""`offbeat db upgrade` brings a database forward, and says so in one line."""

import os
import subprocess
import sys

from offbeat.store import schema


def upgrade(**settings):
    """Run the command with *settings* as OFFBEAT_* variables."""
    env = {**os.environ, **{f"OFFBEAT_{name.upper()}": value for name, value in settings.items()}}
    command = [sys.executable, "-m", "offbeat.cli.main", "db", "upgrade"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


def test_an_empty_database_is_brought_forward_and_the_second_time_left_alone(empty_url, tmp_path):
    """Both kinds of database; run again it changes nothing and succeeds."""
    first = upgrade(database_url=empty_url, data_dir=str(tmp_path))
    assert first.returncode == 0, first.stderr
    assert f"empty -> {schema.head()}" in first.stdout
    assert f"at {schema.head()}, as it was" in upgrade(database_url=empty_url, data_dir=str(tmp_path)).stdout


def test_a_database_that_cannot_be_used_is_named_without_its_password(tmp_path):
    """An unreachable or foreign database ends in one line and exit code 3."""
    for url in ("postgresql://ann:secret@/none?host=/nonexistent", "mysql://ann:secret@host/db"):
        done = upgrade(database_url=url, data_dir=str(tmp_path))
        assert done.returncode == 3
        assert done.stderr.startswith("offbeat: database")
        assert done.stderr.count("\n") == 1
        assert "secret" not in done.stderr
