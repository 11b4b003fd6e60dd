"""The house: where code lies, how large a module may be, and which words are foreign to it."""

import os
import re
import statistics
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINKS = sorted(path for path in (ROOT / "src/offbeat").iterdir() if path.is_symlink())
ROOMS = [link.name for link in LINKS]

FOREIGN = re.compile("|".join([r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bXX" + r"X\b", r"/wo" + r"rk/", "acm" + "e_"]))
"""Notes to oneself, paths of one machine, names of examples: split here, so that this file passes its own test."""


def modules():
    """Return the source modules of all rooms and of the shared words."""
    return sorted(
        path for folder in [ROOT / "src/offbeat", *(ROOT / room for room in ROOMS)] for path in folder.rglob("*.py")
    )


def tracked():
    """Return the files that git knows, or skip where there is no git."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no list of files from git: {error}")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def lines(path):
    """Return the number of lines of *path*."""
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("link", LINKS, ids=ROOMS)
def test_link_leads_to_the_room_of_its_name(link):
    """Each link in src/offbeat is relative and leads to the package of the same name beside src."""
    assert link.readlink() == Path(f"../../{link.name}")
    assert (link / "__init__.py").is_file()


def test_every_package_beside_src_is_linked():
    """A folder of the top level that is a package can be imported as offbeat.<folder>."""
    packages = {
        path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name not in {"tests", "benchmarks"}
    }
    assert packages == set(ROOMS)


def test_modules_are_short():
    """Half of the modules have at most 150 lines, nine in ten at most 330, none more than 600."""
    counts = sorted(n for n in map(lines, modules()) if n)
    assert statistics.median(counts) <= 150
    assert counts[int(len(counts) * 0.9)] <= 330
    assert counts[-1] <= 600, [str(path) for path in modules() if lines(path) > 600]


def test_every_package_in_a_room_has_an_init():
    """No folder with Python files in a room is left out of the wheel for want of an __init__.py."""
    assert [str(path) for path in modules() if not (path.parent / "__init__.py").exists()] == []


def test_no_foreign_words():
    """Nothing in the repository holds a note to oneself or a path of somebody's machine."""
    found = []
    for path in tracked():
        if path.suffix in {".py", ".c", ".h", ".js", ".css", ".html", ".md", ".toml", ".yml", ".txt", ""}:
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                if FOREIGN.search(line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []


def test_layers_name_every_room_that_holds_code():
    """The floors in pyproject.toml place every room, or it could import what it likes."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ][0]
    placed = set(re.findall(r"offbeat\.(\w+)", " ".join(contract["layers"])))
    outside = {"dashboards", "migrations"}  # files and revisions, imported by nobody's name
    assert set(ROOMS) - outside <= placed


def test_ci_gate_runs_everything():
    """The gate can be executed and calls lint, docs and tests of the Makefile."""
    gate = ROOT / ".ci/run"
    assert os.access(gate, os.X_OK)
    assert "for target in lint docs test" in gate.read_text(encoding="utf-8")


def test_make_help_names_every_target():
    """`make help` has a line for each target that a person may call."""
    said = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = set(re.findall(r"^  make (\w+) ", said, re.MULTILINE))
    assert named == {"help", "setup", "run", "demo", "test", "bench", "lint", "docs", "clean"}
