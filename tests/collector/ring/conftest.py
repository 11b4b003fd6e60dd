"""A ring in a directory of its own."""

import pytest

from offbeat.collector.ring.writer import RingWriter


@pytest.fixture
def writer(tmp_path):
    """Return a writer of a fresh ring, closed at the end."""
    ring = RingWriter(tmp_path)
    yield ring
    ring.close()
