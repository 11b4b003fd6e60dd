"""The append log: what was appended is read back, whatever happens to the rest of the file."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offbeat.store.log import SUFFIX, Entry, Log

ENTRIES = [Entry(f"node{n}", 7, n, n * 1000, bytes([n]) * (n * 10)) for n in range(1, 6)]
TMP = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


@pytest.fixture
def log(tmp_path):
    """Give an empty log."""
    made = Log.create(tmp_path)
    yield made
    made.close()


def test_entries_are_read_back(log):
    """What several appends wrote comes back in order."""
    log.append(ENTRIES[:2])
    log.append(ENTRIES[2:])
    assert list(log.entries()) == ENTRIES


@TMP
@given(entry=st.builds(Entry, st.text(), st.integers(0), st.integers(1), st.integers(0), st.binary()))
def test_any_entry_is_read_back(tmp_path, entry):
    """Host names and bodies may hold anything, the log's own marks too."""
    tricky = Entry("OBL1", 1, 1, 1, b"OBL1" * 5 + entry.body)
    log = Log.create(tmp_path)
    log.append([entry, tricky, entry])
    assert list(log.entries()) == [entry, tricky, entry]
    log.delete()


@TMP
@given(data=st.data())
def test_a_cut_log_keeps_what_was_whole(tmp_path, data):
    """A log cut anywhere gives the records before the cut, as after a crash in the middle of a write."""
    log = Log.create(tmp_path)
    log.append(ENTRIES)
    os.truncate(log.path, data.draw(st.integers(0, log.path.stat().st_size)))
    found = list(log.entries())
    assert found == ENTRIES[: len(found)]
    log.delete()


@TMP
@given(data=st.data())
def test_a_damaged_byte_costs_one_record(tmp_path, data):
    """Any one wrong byte loses at most the record it is in."""
    log = Log.create(tmp_path)
    log.append(ENTRIES)
    content = bytearray(log.path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    log.path.write_bytes(content)
    found = list(log.entries())
    assert len(found) >= len(ENTRIES) - 1
    assert all(entry in ENTRIES for entry in found)
    log.delete()


def test_a_living_writers_log_is_not_taken_over(log):
    """A log can be taken over when its writer is gone, not before."""
    log.append(ENTRIES)
    assert Log.take_over(log.path) is None
    log.close()
    taken = Log.take_over(log.path)
    assert list(taken.entries()) == ENTRIES
    taken.delete()


def test_a_log_that_is_gone_cannot_be_taken_over(log):
    """Who comes second finds nothing, even if it opened the file before the first deleted it."""
    log.delete()
    assert Log.take_over(log.path) is None


def test_an_unreadable_log_is_kept_under_another_name(log, tmp_path):
    """A log set aside is no log any more, and its bytes are still there."""
    log.append(ENTRIES)
    content = log.path.read_bytes()
    log.set_aside()
    (kept,) = tmp_path.iterdir()
    assert kept.suffix != SUFFIX
    assert kept.read_bytes() == content
