"""Made-up lines of the kernel's log: events like real ones, marked, and nothing that a file holds can do harm."""

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector.source import NoData
from offbeat.collector.sources.injected import NOTE, InjectedSource, put

LINE = "NVRM: Xid (PCI:0000:9b:00): 79, GPU has fallen off the bus."


@pytest.fixture
def source(tmp_path):
    """Give a source on a directory of its own."""
    found = InjectedSource("node1", tmp_path / "inject", gpus=lambda: {"0000:9b:00.0": "3"}, clock=lambda: 7)
    assert found.is_supported()
    return found


def test_a_line_becomes_an_event_once(source, tmp_path):
    """The event is what the kernel's own line would be, of the right GPU, and says that it was made up."""
    path = put(tmp_path / "inject", LINE)
    (row,) = source.read()["events"].to_pylist()
    assert (row["kind"], row["code"], row["device_kind"], row["device_id"], row["at"]) == ("xid", 79, "gpu", "3", 7)
    assert row["message"].endswith(f"[{NOTE}]")
    assert not path.exists()
    with pytest.raises(NoData):
        source.read()


def test_only_its_owner_may_write(source, tmp_path):
    """The directory is the agent's user's alone."""
    assert (tmp_path / "inject").stat().st_mode & 0o777 == 0o700


def test_a_line_that_says_nothing_is_refused(tmp_path):
    """A line that the agent would make nothing of is refused with an example of one that it would."""
    with pytest.raises(ValueError, match="NVRM: Xid"):
        put(tmp_path, "hello")


def test_links_and_pipes_are_not_followed(source, tmp_path):
    """What is no regular file of the directory is not read, and does not stop the agent."""
    (tmp_path / "secret").write_text(LINE)
    (tmp_path / "inject" / "a.line").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "inject" / "b.line")
    with pytest.raises(NoData):
        source.read()
    assert (tmp_path / "secret").read_text() == LINE


@given(st.binary(max_size=300))
def test_whatever_a_file_holds(tmp_path_factory, data):
    """Any bytes are a line or nothing."""
    directory = tmp_path_factory.mktemp("inject")
    found = InjectedSource("node1", directory)
    (directory / "1.line").write_bytes(data)
    with contextlib.suppress(NoData):
        assert found.read()["events"].num_rows == 1
    assert not list(directory.iterdir())
