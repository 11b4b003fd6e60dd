"""The audit log."""

import pytest

from offbeat.store import CursorError


def test_entries_come_in_pages_the_latest_first(store, clock):
    """What was noted is listed with who, when and the details; each entry on one page."""
    for number in range(5):
        clock.tick(1)
        store.audit.add("ann", "did", {"number": number})
    page = store.audit.list(limit=3)
    rest = store.audit.list(cursor=page.next, limit=3)
    assert [row.detail["number"] for row in (*page.items, *rest.items)] == [4, 3, 2, 1, 0]
    assert (page.items[0].who, page.items[0].what, page.items[0].at, rest.next) == ("ann", "did", clock.now, None)


def test_a_cursor_from_elsewhere_is_refused(store):
    """Nonsense is an error of the caller's."""
    with pytest.raises(CursorError):
        store.audit.list(cursor="nothing")
