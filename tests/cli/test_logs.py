"""How long-running commands write their log."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging, structlog
from offbeat.cli import logs
logs.configure({form!r})
log = structlog.get_logger("offbeat.test")
log.info("hello", job="train")
logging.getLogger("library").warning("from a library")
token = "hidden-value"
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def run(form):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(form=form)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ""
    return done.stderr


def test_json_lines_hold_ours_and_theirs():
    """Each line is JSON with time, level and origin, for libraries' messages too."""
    ours, theirs, failed = map(json.loads, run("json").splitlines())
    assert (ours["event"], ours["job"], ours["level"], ours["logger"]) == ("hello", "train", "info", "offbeat.test")
    assert (theirs["event"], theirs["level"]) == ("from a library", "warning")
    assert failed["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert ours["timestamp"].endswith("Z")


@pytest.mark.parametrize("form", ["json", "console", "auto"])
def test_values_of_locals_stay_out(form):
    """A traceback never prints what variables held: they hold tokens."""
    log = run(form)
    assert "ZeroDivisionError" in log
    assert "hidden-value" not in log.replace('token = "hidden-value"', "")
