"""The command line's shell: names, help, exit codes, and that a command costs only what it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from offbeat.cli import main


def offbeat(*args, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "offbeat.cli.main", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **kwargs,
    )


def test_help_names_every_command_without_importing_any():
    """`offbeat --help` lists all commands and loads none of their modules."""
    code = (
        "import sys; from offbeat.cli import main; main.run(['--help']);"
        "print([m for m in sys.modules if m.startswith('offbeat.cli.') and m not in"
        " ('offbeat.cli.main', 'offbeat.cli.errors')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert all(name in done.stdout for name in main.COMMANDS)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("args", [["nonsense"], ["version", "--no-such-flag"], ["incidents", "show"], []])
def test_wrong_usage_is_64(args):
    """Unknown commands, unknown flags, missing arguments and an empty line end with 64, as scripts expect."""
    assert main.run(args) == 64


def test_a_typing_slip_gets_a_suggestion():
    """A command that nearly exists is named."""
    assert "Did you mean 'status'" in offbeat("statsu").stderr


def test_version_is_one_line():
    """`offbeat version` prints name and version only."""
    done = offbeat("version")
    assert done.returncode == 0
    assert done.stdout.startswith("offbeat ")
    assert done.stdout.count("\n") == 1


def test_missing_service_libraries_are_named_in_one_line():
    """On the base install `offbeat up` says what to install instead of printing a traceback."""
    code = (
        "import sys; sys.modules['fastapi'] = None; from offbeat.cli import main; sys.exit(main.run(['up', '--help']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "pip install 'offbeat[service]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name", ["agent", "diagnose", "status", "jobs", "incidents", "nodes", "webhook", "token", "doctor", "version"]
)
def test_the_base_install_is_enough(name):
    """Beside a training job, and for reading from afar, nothing of the service has to be installed."""
    code = (
        "import sys\n"
        "for name in ('fastapi', 'uvicorn', 'sqlalchemy', 'alembic', 'psycopg', 'standardwebhooks', 'torch'):\n"
        "    sys.modules[name] = None\n"
        f"from offbeat.cli import main; sys.exit(main.run([{name!r}, '--help']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", list(main.COMMANDS))
def test_every_command_explains_itself(name, capsys):
    """Each mounted command has a help page, without options for shell completion, which are the program's."""
    assert main.run([name, "--help"]) == 0
    page = capsys.readouterr().out
    assert "Usage: offbeat" in page
    assert "--install-completion" not in page
