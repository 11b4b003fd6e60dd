"""How a process ends is in its ring."""

import subprocess
import sys

import pytest

from offbeat.collector.recorders.exits import describe, exit_code
from offbeat.collector.ring.reader import RingReader, discover

WAYS = {
    "the end": ("pass", 0, 0, None),
    "sys.exit": ("sys.exit(3)", 3, 3, None),
    "sys.exit with a text": ("sys.exit('bad luck')", 1, 1, "SystemExit: bad luck"),
    "an exception": ("raise ValueError('boom\\nand more')", 1, 1, "ValueError: boom and more"),
    "os._exit": ("os._exit(7)", 7, 7, None),
    "os._exit in a handler": ("try: 1 / 0\nexcept Exception: os._exit(9)", 9, 9, "ZeroDivisionError: division by zero"),
    "sys.exit in a handler": ("try: 1 / 0\nexcept Exception: sys.exit(8)", 8, 8, "ZeroDivisionError: division by zero"),
    "Ctrl-C": ("raise KeyboardInterrupt", -2, -2, "KeyboardInterrupt"),
    "a thread's exception": (
        "t = threading.Thread(target=lambda: [][1]); t.start(); t.join()",
        *(0, 0, "IndexError: list index out of range (in a thread)"),
    ),
    "a kill": ("os.kill(os.getpid(), 9)", -9, None, None),
    "a child's os._exit": ("pid = os.fork()\nif not pid: os._exit(5)\nos.waitpid(pid, 0)", 0, 0, None),
    "a child's exception": ("pid = os.fork()\nif not pid: raise ValueError\nos.waitpid(pid, 0)", 0, 0, None),
}


@pytest.mark.parametrize("way", WAYS)
def test_mark_says_how_it_ended(way, tmp_path, light):
    """The exit code and the exception of each way out are recorded; the process ends just as it would have."""
    body, status, code, exception = WAYS[way]
    program = f"import os, sys, threading\nimport offbeat\noffbeat.record()\n{body}\n"
    done = subprocess.run([sys.executable, "-c", program], env=light, capture_output=True, text=True, check=False)
    assert done.returncode == status
    plain = program.replace("offbeat.record()", "pass")
    before = subprocess.run([sys.executable, "-c", plain], env=light, capture_output=True, text=True, check=False)
    assert before.returncode == status
    said = [line for line in done.stderr.splitlines() if not line.startswith("offbeat:")]
    assert len(said) == len(before.stderr.splitlines())
    (path,) = discover(tmp_path / "rings")
    with RingReader(path) as reader:
        poll = reader.poll()
        assert not reader.alive()
    assert (poll.exit and poll.exit.code) == code
    assert [m.text for m in poll.messages if m.kind == "exception"] == ([exception] if exception else [])


def test_excepthook_of_the_program_is_called(light):
    """A hook the program had set still sees its exception."""
    program = (
        "import sys, offbeat; sys.excepthook = lambda k, e, t: print('mine', e); offbeat.record(); raise OSError(3)"
    )
    done = subprocess.run([sys.executable, "-c", program], env=light, capture_output=True, text=True, check=False)
    assert done.stdout == "mine 3\n"


@pytest.mark.parametrize(("status", "code"), [(None, 0), (0, 0), (3, 3), (256 + 4, 4), (-1, 255), ("x", 1), ([], 1)])
def test_exit_code_is_what_python_makes_of_a_status(status, code):
    """None is 0, a number its low byte, anything else 1."""
    assert exit_code(status) == code


def test_exception_that_cannot_be_printed():
    """An exception whose text fails is known by its type."""

    class Mute(Exception):  # noqa: N818 - only its name matters
        def __str__(self):
            raise RuntimeError

    assert describe(Mute()) == "Mute"
