"""The page on sources says what the code does."""

import csv
import pkgutil
import re
from pathlib import Path

from offbeat.collector import gpu_sample, sources

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
WORDS = set(re.findall(r"`([a-z][a-z0-9_]+)`", PAGE))


def test_every_source():
    """Every source is on the page."""
    assert {module.name for module in pkgutil.iter_modules(sources.__path__)} <= WORDS


def test_every_metric_of_the_tables():
    """Every metric that a table of names leads to is on the page."""
    for name in ("infiniband", "ethernet", "dcgm"):
        with (ROOT / "collector" / f"{name}.csv").open(newline="") as file:
            assert {row["metric"] for row in csv.DictReader(file)} <= WORDS


def test_every_gpu_metric():
    """Every metric in the reading of a GPU is on the page."""
    code = Path(gpu_sample.__file__).read_text(encoding="utf-8")
    assert set(re.findall(r'"(gpu_\w+)"', code)) <= WORDS


def test_every_event():
    """Every kind of event that a source tells is on the page, but for those of processes, on the page of records."""
    known = {"process_exit", "process_stopped", "process_running", "exception", "recorder_note"}
    for path in [*(ROOT / "collector" / "sources").glob("*.py"), *(ROOT / "collector").glob("*lines.py")]:
        code = path.read_text(encoding="utf-8")
        kinds = re.findall(r'(?:events\.add\(\s*\w+,|_event\(|Fact\(|Fault\(|_of\(|_process\()\s*"(\w+)"', code)
        assert set(kinds) - known <= WORDS, path
