"""The layout: sizes that add up, and words that agree with the registry."""

import numpy as np
import pytest

from offbeat import records
from offbeat.collector.ring import layout


def test_words_agree_with_the_registry():
    """Operation codes and states of a ring are the places of the registry's words."""
    assert layout.OPS == records.OPS
    states = {name: code for code, name in enumerate(records.STATES)}
    assert states == {
        "enqueued": layout.ENQUEUED,
        "started": layout.STARTED,
        "completed": layout.COMPLETED,
        "unknown": layout.UNKNOWN,
    }


def test_record_has_the_same_size_for_struct_and_numpy():
    """Both views of an operation are 128 bytes, and every field is aligned to its size."""
    dtype = np.dtype(layout.OPERATION_FIELDS)
    assert dtype.itemsize == layout.OPERATION.size == layout.ENDED_OPERATION.size == layout.OPERATION_BYTES
    assert all(offset % field.itemsize == 0 for field, offset in dtype.fields.values())


def test_default_ring_is_small():
    """A ring takes between 1 and 4 MiB, and its areas follow one another without a gap."""
    plan = layout.plan()
    assert 1 << 20 <= plan.file_bytes <= 4 << 20
    end = layout.HEADER_BYTES
    for name in layout.AREA_NAMES:
        area = plan.areas[name]
        assert area.offset == end
        assert area.offset % 8 == 0
        end += area.record_bytes * area.capacity * (plan.lanes if name == "lanes" else 1)
    assert end == plan.file_bytes


def test_header_blocks_do_not_overlap():
    """Identity, clock, exit mark, counters and cursors each have their own place in the header."""
    blocks = [
        (0, layout.HEADER.size),
        (layout.AREAS_AT, layout.AREA.size * len(layout.AREA_NAMES)),
        (layout.LANE_COUNT_AT, 8),
        (layout.IDENTITY_AT, 2 * layout.IDENTITY_STRIDE),
        (layout.CLOCK_AT, 2 * layout.CLOCK_STRIDE),
        (layout.EXIT_AT, layout.EXIT.size),
        (layout.COUNTERS_AT, 8 * len(layout.COUNTER_NAMES)),
        (layout.CURSORS_AT, layout.CURSOR_STRIDE * (2 + layout.MAX_LANES)),
    ]
    for (at, size), (following, _) in zip(blocks, [*blocks[1:], (layout.HEADER_BYTES, 0)], strict=True):
        assert at + size <= following


@pytest.mark.parametrize(("lanes", "records_each"), [(0, 2048), (layout.MAX_LANES + 1, 2048), (8, 1000), (8, 1)])
def test_impossible_sizes_are_refused(lanes, records_each):
    """A plan with no lane, too many, or records that are no power of two is an error."""
    with pytest.raises(ValueError, match="lanes of"):
        layout.plan(lanes=lanes, lane_records=records_each)
