"""Changes of a network adapter that only its numbers tell: a link that flapped, or came back slower."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from offbeat.collector.rows import Events


class NicChanges:
    """Remembers what each adapter said last; the first look is no change."""

    def __init__(self) -> None:
        self._downed: dict[str, float] = {}
        self._speed: dict[str, float] = {}

    def downed(self, events: Events, at: int, name: str, times: float) -> None:
        """Tell if the link went down since the last look, by the number of *times* it ever did."""
        before = self._downed.get(name, times)
        self._downed[name] = times
        if times > before:
            message = f"{name}: the link went down {times - before:.0f} times"
            events.add(
                at, "nic_link_flapped", device_kind="nic", device_id=name, code=int(times - before), message=message
            )

    def speed(self, events: Events, at: int, name: str, bps: float) -> None:
        """Tell if the link's speed, in bits a second, has changed; the event's code is the new one in Mb/s."""
        before = self._speed.get(name, bps)
        self._speed[name] = bps
        if bps != before:
            message = f"{name}: {before / 1e9:g} Gb/s became {bps / 1e9:g}"
            events.add(at, "nic_speed_changed", device_kind="nic", device_id=name, code=int(bps / 1e6), message=message)

    def forget(self, name: str) -> None:
        """Drop what is known of an adapter that is gone."""
        self._downed.pop(name, None)
        self._speed.pop(name, None)
