"""The spool: what it holds survives anything, and what is damaged is never sent."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import wait_until

from offbeat.collector.spool import QUARANTINE_FILES, DamagedError, Key, Spool, SpoolError


@pytest.fixture
def spool(tmp_path):
    """Return a spool of host "a"."""
    found = Spool(tmp_path / "spool", "a")
    yield found
    found.close()


def test_batches_come_back_in_order(tmp_path):
    """What was written is found by the next agent, oldest incarnation and number first, byte for byte."""
    first = Spool(tmp_path, "a")
    keys = [Key(7, 2), Key(7, 10), Key(5, 1), Key(70, 1)]
    for key in keys:
        first.write(key, f"{key}".encode())
    first.close()
    second = Spool(tmp_path, "a")
    found = second.recover()
    assert [recovered.key for recovered in found] == sorted(keys)
    for recovered in found:
        assert second.load(recovered.key) == f"{recovered.key}".encode()
        assert recovered.size == len(f"{recovered.key}")
    second.close()


def test_second_agent_is_refused(spool):
    """A spool directory that another agent holds is refused with the directory's name, and free once it is closed."""
    with pytest.raises(SpoolError, match=r"spool directory .*/spool is in use by another agent"):
        Spool(spool.directory, "a")


def test_directory_that_cannot_be_made(tmp_path):
    """A spool directory that cannot be made is refused with the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="cannot use spool directory"):
        Spool(tmp_path / "file" / "spool", "a")


def test_kill_leaves_whole_batches_only(tmp_path):
    """After kill -9 in the middle of writing, every batch that was reported written is there and whole."""
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from offbeat.collector.spool import Key, Spool
        spool = Spool(Path(sys.argv[1]), "a")
        n = 0
        while True:
            n += 1
            spool.write(Key(1, n), bytes([n % 251]) * 200_000)
            print(n, flush=True)
    """)
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    reported = 0
    while reported < 5:
        reported = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    reported = max([reported, *map(int, child.stdout.read().split())])
    child.wait()
    child.stdout.close()
    spool = Spool(tmp_path, "a")
    found = [recovered.key.n for recovered in spool.recover()]
    assert found == list(range(1, len(found) + 1))
    assert len(found) in {reported, reported + 1}
    for n in found:
        assert spool.load(Key(1, n)) == bytes([n % 251]) * 200_000
    assert not list(tmp_path.glob("*.tmp"))
    assert spool.quarantined == 0
    spool.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(min_size=1, max_size=300), where=st.integers(0, 400), change=st.integers(1, 255))
def test_changed_byte_is_noticed(spool, body, where, change):
    """A batch in which any byte changed, in header or body, is put aside and never returned."""
    key = Key(1, 1)
    spool.write(key, body)
    path = spool.directory / key.filename
    data = bytearray(path.read_bytes())
    data[where % len(data)] ^= change
    path.write_bytes(data)
    before = spool.quarantined
    with pytest.raises(DamagedError):
        spool.load(key)
    assert spool.quarantined == before + 1
    assert not path.exists()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(min_size=1, max_size=300), keep=st.integers(0, 10_000), more=st.booleans())
def test_wrong_length_is_noticed_at_start(spool, body, keep, more):
    """A batch that is cut off or too long is put aside when the spool is opened."""
    key = Key(1, 1)
    spool.write(key, body)
    path = spool.directory / key.filename
    data = path.read_bytes()
    path.write_bytes(data + b"x" if more else data[: keep % len(data)])
    assert spool.recover() == []
    assert not path.exists()


@pytest.mark.parametrize("finished", [False, True], ids=["before the rename", "after it"])
def test_power_cut_at_every_byte(tmp_path, finished):
    """Wherever a power cut ends a file, the batch is whole or not there, and those beside it are."""
    spool = Spool(tmp_path, "a")
    spool.write(Key(1, 1), b"first")
    spool.write(Key(1, 2), b"second batch")
    path = tmp_path / Key(1, 2).filename
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.unlink(missing_ok=True)
        (path if finished else path.with_suffix(".tmp")).write_bytes(whole[:cut])
        assert [found.key for found in spool.recover()] == [Key(1, 1)]
        assert not path.with_suffix(".tmp").exists()
    assert spool.load(Key(1, 1)) == b"first"
    spool.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text(st.characters(codec="ascii", exclude_characters="/\0"), min_size=1, max_size=40)))
def test_foreign_files_are_left_alone(spool, names):
    """Files of other names neither disturb recovery nor are removed by it."""
    names = {name for name in names if name not in {".", ".."} and not name.endswith((".tmp", ".batch"))}
    for name in names - {"lock", "quarantine"}:
        (spool.directory / name).write_bytes(b"?")
    assert spool.recover() == []
    assert names <= {path.name for path in spool.directory.iterdir()} | {"lock", "quarantine"}


def test_batches_of_another_host_are_put_aside(tmp_path):
    """A machine that was renamed does not send what was read under its old name."""
    old = Spool(tmp_path, "a")
    old.write(Key(1, 1), b"x")
    old.close()
    new = Spool(tmp_path, "b")
    assert new.recover() == []
    assert new.quarantined == 1
    assert [path.name for path in (tmp_path / "quarantine").iterdir()] == [Key(1, 1).filename]
    new.close()


def test_quarantine_is_bounded(spool):
    """Of the batches put aside only the newest are kept."""
    for n in range(1, QUARANTINE_FILES + 10):
        spool.quarantine(Key(1, n), b"x")
    assert len(list((spool.directory / "quarantine").iterdir())) == QUARANTINE_FILES
    assert spool.quarantined == QUARANTINE_FILES + 9


def test_full_disk_leaves_nothing_behind(spool, monkeypatch):
    """A write that fails for want of space raises, and leaves no half file."""

    def full(_descriptor, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        spool.write(Key(1, 1), b"x" * 1000)
    monkeypatch.undo()
    assert [path.name for path in spool.directory.iterdir()] == ["lock"]


def test_files_are_private(spool):
    """Directory and batches can be read by their owner alone."""
    spool.write(Key(1, 1), b"x")
    assert spool.directory.stat().st_mode & 0o777 == 0o700
    assert (spool.directory / Key(1, 1).filename).stat().st_mode & 0o777 == 0o600


def test_lock_of_a_killed_agent_is_free(tmp_path):
    """The lock goes with the process that held it, however that ended."""
    program = "import sys, time; from pathlib import Path; from offbeat.collector.spool import Spool\n"
    program += "spool = Spool(Path(sys.argv[1]), 'a'); print('held', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    with pytest.raises(SpoolError):
        Spool(tmp_path, "a")
    child.kill()
    child.wait()
    child.stdout.close()
    wait_until(lambda: _opens(tmp_path))


def _opens(directory):
    try:
        Spool(directory, "a").close()
    except SpoolError:
        return False
    return True
