"""Following files that others write."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector import tail
from offbeat.collector.tail import Tail


@pytest.fixture
def follow(tmp_path):
    """Return a function that reads what is new in all logs, as (name, line, old)."""
    reader = Tail(f"{tmp_path}/*.log:{tmp_path}/deep/**/*.txt", look_seconds=0)
    return lambda: [(path.name, line, old) for path, line, old in reader.lines()]


def test_new_lines(tmp_path, follow):
    """Lines come once, when they are whole; those that were there before us are old."""
    log = tmp_path / "a.log"
    log.write_text("one\ntwo\n")
    assert follow() == [("a.log", "one", True), ("a.log", "two", True)]
    with log.open("a") as file:
        file.write("thr")
        file.flush()
        assert follow() == []
        file.write("ee\n\n")
    assert follow() == [("a.log", "three", False), ("a.log", "", False)]


def test_files_that_come_and_go(tmp_path, follow):
    """A file that appears later is read from its beginning; one that begins anew or is replaced too."""
    assert follow() == []
    log = tmp_path / "b.log"
    log.write_text("one\n")
    assert follow() == [("b.log", "one", False)]
    log.write_text("x\n")
    assert follow() == [("b.log", "x", False)]
    fresh = tmp_path / "fresh"
    fresh.write_text("replaced and longer\n")
    fresh.replace(log)
    assert follow() == [("b.log", "replaced and longer", False)]
    log.unlink()
    assert follow() == []
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "c.txt").write_text("deep\n")
    assert follow() == [("c.txt", "deep", False)]


def test_only_plain_files(tmp_path, follow):
    """Links, pipes and folders are not followed: what they lead to is not for us to read."""
    (tmp_path / "secret").write_text("root:x\n")
    (tmp_path / "link.log").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "folder.log").mkdir()
    assert follow() == []


def test_long_lines(tmp_path, follow):
    """Of a line without end only the beginning comes, and what follows it is read again."""
    log = tmp_path / "long.log"
    follow()
    log.write_bytes(b"x" * (tail.BITE * 2) + b"\nnext\n")
    found = []
    for _ in range(4):
        found += follow()
    assert [(name, len(line)) for name, line, _ in found] == [("long.log", tail.MAX_LINE), ("long.log", 4)]


def test_a_huge_old_file(tmp_path, follow):
    """Of a large file that was there before us the beginning and what is new are read."""
    log = tmp_path / "huge.log"
    log.write_bytes(b"old line\n" * (tail.HEAD // 3))
    found = []
    for _ in range(20):
        found += follow()
    assert len(found) < tail.HEAD // 3
    with log.open("ab") as file:
        file.write(b"new\n")
    assert follow() == [("huge.log", "new", False)]


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_whatever_is_written(tmp_path_factory, parts):
    """Every whole line comes exactly once and in order, whatever pieces it was written in."""
    folder = tmp_path_factory.mktemp("tail")
    reader, found = Tail(f"{folder}/*", look_seconds=0), []
    list(reader.lines())
    log = folder / "log"
    for part in parts:
        with log.open("ab") as file:
            file.write(part)
        found += [line for _, line, _ in reader.lines()]
    whole = b"".join(parts).split(b"\n")[:-1]
    assert found == [line.decode("utf-8", "replace") for line in whole]
