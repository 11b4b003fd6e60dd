"""`python -m offbeat.run` is plain Python to the program it runs."""

import os
import re
import subprocess
import sys

import pytest

from offbeat.collector.ring.reader import RingReader, discover

LOOK = """
import json, os, sys
main = sys.modules["__main__"]
print(json.dumps({
    "argv": sys.argv, "path": os.path.abspath(sys.path[0]), "name": __name__, "file": __file__,
    "main": main.__dict__ is globals(),
    "spec": getattr(__spec__, "name", None), "package": __package__, "doc": __doc__, "cached": __cached__,
}))
"""


@pytest.fixture
def python(tmp_path, light):
    """Return a function that runs Python in the test's directory."""

    def run(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=light, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def both(python, *arguments):
    """Run a program with plain Python and with ours; return what each did, our own warnings left out."""
    plain, ours = python(*arguments), python("-m", "offbeat.run", *arguments)
    ours.stderr = re.sub(r"^offbeat: .*\n", "", ours.stderr, flags=re.MULTILINE)
    return plain, ours


@pytest.mark.parametrize("where", ["look.py", "deeper/look.py", "package", "-m"])
def test_program_sees_what_it_would_see(python, tmp_path, where):
    """Arguments, import path, name, file and module are the same for scripts, directories and modules."""
    (tmp_path / "deeper").mkdir()
    (tmp_path / "package").mkdir()
    for path in ("look.py", "deeper/look.py", "package/__main__.py"):
        (tmp_path / path).write_text(f'"""A doc."""\n{LOOK}')
    what = ["-m", "look"] if where == "-m" else [where]
    plain, ours = both(python, *what, "--lr", "-m", "x")
    assert plain.returncode == 0
    assert ours.stdout == plain.stdout
    assert ours.stderr == plain.stderr


@pytest.mark.parametrize(
    "body", ["def f(): raise ValueError(1)\nf()", "import sys; sys.exit(5)", "raise SystemExit('no')", "x = = 1", "1/0"]
)
@pytest.mark.parametrize("as_module", [False, True])
def test_failures_look_the_same(python, tmp_path, body, as_module):
    """Exit code and traceback are those of plain Python, and the ring has the exit code."""
    (tmp_path / "bad.py").write_text(body)
    plain, ours = both(python, *(["-m", "bad"] if as_module else ["bad.py"]))
    assert ours.returncode == plain.returncode
    if as_module:  # plain Python shows the frames of runpy, we do not
        plain.stderr = re.sub(r'^  File "<frozen runpy>".*\n(    .*\n)*', "", plain.stderr, flags=re.MULTILINE)
    assert ours.stderr == plain.stderr
    (path,) = discover(tmp_path / "rings")
    with RingReader(path) as reader:
        assert reader.poll().exit.code == plain.returncode


@pytest.mark.parametrize("what", [["absent.py"], ["-m", "absent"]])
def test_absent_program(python, what):
    """A script or module that is not there is refused as Python refuses it."""
    plain, ours = both(python, *what)
    assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr)


def test_usage(python):
    """With nothing to run, the usage is printed, and the code says so."""
    assert python("-m", "offbeat.run").returncode == 64
    assert python("-m", "offbeat.run", "-m").returncode == 64
    assert "SCRIPT" in python("-m", "offbeat.run", "--help").stdout


def test_spawned_workers_find_the_program(python, tmp_path):
    """Functions of the program can be sent to spawned processes, as data loaders do."""
    (tmp_path / "pool.py").write_text(
        "import multiprocessing as mp\n"
        "def double(x): return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    with mp.get_context('spawn').Pool(1) as pool: print(pool.map(double, [1, 2]))\n"
    )
    plain, ours = both(python, "pool.py")
    assert ours.stdout == plain.stdout == "[2, 4]\n"


def test_ring_directory_that_cannot_be_made(python, tmp_path, light):
    """Where no ring can be made the program runs all the same, with one line of warning."""
    (tmp_path / "file").touch()
    light["OFFBEAT_RING_DIR"] = str(tmp_path / "file/rings")
    (tmp_path / "fine.py").write_text("import offbeat; offbeat.record(); print('ran')\nwith offbeat.phase('x'): pass")
    ours = python("-m", "offbeat.run", "fine.py")
    assert ours.stdout == "ran\n"
    assert len(ours.stderr.splitlines()) == 1
    assert "nothing is recorded" in ours.stderr


def test_present_agent_is_not_missed(python, tmp_path):
    """The warning that no agent is there is given only when none has touched its file lately."""
    (tmp_path / "fine.py").write_text("pass")
    assert "no agent" in python("-m", "offbeat.run", "fine.py").stderr
    (tmp_path / "rings/agent").touch()
    assert python("-m", "offbeat.run", "fine.py").stderr == ""
    os.utime(tmp_path / "rings/agent", (0, 0))
    assert "no agent" in python("-m", "offbeat.run", "fine.py").stderr


def test_import_costs_nothing_heavy(python):
    """Neither `import offbeat` nor recording brings more than the standard library into a trainer."""
    program = (
        "import sys, offbeat; light = set(sys.modules); offbeat.record(); "
        "names = {name.partition('.')[0] for name in sys.modules}; "
        "print(sorted(names - sys.stdlib_module_names - {'offbeat', '__main__', 'sitecustomize'})); "
        "print(sorted(name for name in light if name.startswith('offbeat')))"
    )
    done = python("-c", program)
    names, first = done.stdout.splitlines()
    assert first == "['offbeat']"
    assert not {"numpy", "pyarrow", "pydantic", "typer", "structlog", "httpx2"} & set(eval(names))
