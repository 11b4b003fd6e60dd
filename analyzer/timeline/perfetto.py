"""A timeline in Perfetto's trace format: https://perfetto.dev/docs/reference/trace-packet-proto.

Ranks are processes, communicators and phases are their tracks, waits are flows, faults are instants. Times are Unix
nanoseconds of each host's own clock: what happened on different hosts may be milliseconds apart from where it stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
    BUILTIN_CLOCK_BOOTTIME,
    BUILTIN_CLOCK_REALTIME,
    TracePacket,
    TrackEvent,
)
from perfetto.trace_builder.proto_builder import TraceProtoBuilder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from offbeat.analyzer.timeline.slices import Slice, Wait

_SEQUENCE = 1


@dataclass(frozen=True, slots=True)
class Instant:
    """Something that happened at one time: on the tracks of *ranks*, and on the named track."""

    at: int
    track: str
    name: str
    ranks: tuple[int, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


def encode(
    slices: Sequence[Slice], waits: Sequence[Wait], instants: Sequence[Instant], hosts: Mapping[int, str]
) -> bytes:
    """Return the trace.

    Args:
        slices: Laid out in lanes.
        waits: Arrows between them.
        instants: Faults and events.
        hosts: Rank → host, as far as known.
    """
    return _Writer(hosts).write(slices, waits, instants)


class _Writer:
    def __init__(self, hosts: Mapping[int, str]) -> None:
        self._builder = TraceProtoBuilder()
        self._hosts = hosts
        self._numbers = count(1)
        self._tracks: dict[tuple[Any, ...], int] = {}

    def write(self, slices: Sequence[Slice], waits: Sequence[Wait], instants: Sequence[Instant]) -> bytes:
        first = min([*(each.begin for each in slices), *(each.at for each in instants)], default=0)
        self._clocks(first)
        flows: dict[int, list[int]] = {}
        ends: dict[int, list[int]] = {}
        for number, wait in enumerate(waits, 1):
            flows.setdefault(wait.waiting, []).append(number)
            ends.setdefault(wait.late, []).append(number)
        for rank in sorted({each.rank for each in slices}):
            self._rank(rank)
        # At equal times what ends comes before what begins, so that neighbours do not nest.
        timed: list[tuple[int, int, int]] = []
        for place, each in enumerate(slices):
            timed.append((each.begin, 1, place))
            if each.end is not None:
                timed.append((max(each.end, each.begin + 1), 0, place))
        for at, begins, place in sorted(timed):
            event = self._event(at, self._track_of(slices[place]))
            if begins:
                self._begin(event, slices[place], flows.get(place, []), ends.get(place, []))
            else:
                event.type = TrackEvent.TYPE_SLICE_END
        for instant in instants:
            for track in (self._named(instant.track), *(self._rank(rank) for rank in instant.ranks)):
                event = self._event(instant.at, track)
                event.type, event.name = TrackEvent.TYPE_INSTANT, instant.name
                _annotate(event, instant.figures)
        return bytes(self._builder.serialize())

    def _clocks(self, first: int) -> None:
        packet = self._packet()
        packet.sequence_flags = TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        # The trace's clock is the wall clock: a viewer may show times of day.
        for clock in (BUILTIN_CLOCK_BOOTTIME, BUILTIN_CLOCK_REALTIME):
            packet.clock_snapshot.clocks.add(clock_id=clock, timestamp=first)

    def _begin(self, event: TrackEvent, each: Slice, flows: list[int], ends: list[int]) -> None:
        event.type, event.name = TrackEvent.TYPE_SLICE_BEGIN, each.name
        event.flow_ids.extend(flows)
        event.terminating_flow_ids.extend(ends)
        _annotate(event, each.figures)

    def _rank(self, rank: int) -> int:
        key = ("rank", rank)
        if key not in self._tracks:
            self._tracks[key] = next(self._numbers)
            described = self._packet().track_descriptor
            described.uuid = self._tracks[key]
            # 0 is the kernel's idle process.
            described.process.pid = rank + 1
            host = self._hosts.get(rank, "")
            described.process.process_name = f"rank {rank}" + (f" · {host}" if host else "")
        return self._tracks[key]

    def _track_of(self, each: Slice) -> int:
        # Lanes of one track have one name: a viewer draws them as one.
        return self._child((each.rank, each.track, each.lane), each.track, self._rank(each.rank))

    def _named(self, name: str) -> int:
        return self._child(("named", name), name, 0)

    def _child(self, key: tuple[Any, ...], name: str, parent: int) -> int:
        if key not in self._tracks:
            self._tracks[key] = next(self._numbers)
            described = self._packet().track_descriptor
            described.uuid, described.name = self._tracks[key], name
            if parent:
                described.parent_uuid = parent
        return self._tracks[key]

    def _event(self, at: int, track: int) -> TrackEvent:
        packet = self._packet()
        packet.timestamp = at
        packet.track_event.track_uuid = track
        return packet.track_event

    def _packet(self) -> TracePacket:
        packet = self._builder.add_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        return packet


def _annotate(event: TrackEvent, figures: Mapping[str, Any]) -> None:
    for name, value in figures.items():
        if isinstance(value, int):
            event.debug_annotations.add(name=name, int_value=value)
        else:
            event.debug_annotations.add(name=name, string_value=str(value))
