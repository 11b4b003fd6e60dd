"""The trace format: what Perfetto's own descriptors read, and what its trace processor answers where there is one."""

import os
import shutil

import pytest

pytest.importorskip("perfetto", reason="perfetto is not installed (extra service)")

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

from offbeat.analyzer.timeline.perfetto import Instant, encode
from offbeat.analyzer.timeline.slices import Slice, lay_out, waits

MS = 1_000_000
T0 = 1_800_000_000_000_000_000


def trace():
    """Return a trace of three ranks: rank 1 came last to operation 7, rank 2 never left operation 8."""
    made = [
        Slice(
            rank, "dp", "all_reduce", T0 + begin * MS, None if end is None else T0 + end * MS, {"seq": seq}, ("c", seq)
        )
        for rank, seq, begin, end in (
            (0, 7, 0, 50),
            (1, 7, 40, 50),
            (2, 7, 0, 50),
            (0, 8, 50, 60),
            (1, 8, 50, 60),
            (2, 8, 50, None),
            (0, 9, 55, 70),
            (0, 10, 70, 70),
        )
    ]
    made.append(Slice(1, "phases", "forward", T0, T0 + 40 * MS, {"step": 1}))
    drawn = lay_out(made)
    fault = Instant(T0 + 20 * MS, "Faults", "train is slowed by rank 1", (1,), {"class": "slow.compute"})
    event = Instant(T0 + 5 * MS, "host b", "xid", (), {"message": "79"})
    return encode(drawn, waits(drawn, 100), [fault, event], {0: "a", 1: "b"})


@pytest.fixture(scope="module")
def packets():
    """Give the packets as Perfetto's descriptors read them."""
    read = Trace()
    read.ParseFromString(trace())
    return list(read.packet)


def tracks(packets):
    """Return track → its name, with its parent's before it."""
    described = {p.track_descriptor.uuid: p.track_descriptor for p in packets if p.HasField("track_descriptor")}

    def name(uuid):
        track = described[uuid]
        own = track.process.process_name or track.name
        return f"{name(track.parent_uuid)}/{own}" if track.parent_uuid else own

    return {uuid: name(uuid) for uuid in described}


def test_every_packet_is_of_one_sequence_and_every_track_is_described_first(packets):
    """Trace processors drop what comes on a sequence or a track that nobody introduced."""
    assert {packet.trusted_packet_sequence_id for packet in packets} == {1}
    assert packets[0].sequence_flags == 1
    assert {clock.timestamp for clock in packets[0].clock_snapshot.clocks} == {T0}
    known = set()
    for packet in packets:
        if packet.HasField("track_descriptor"):
            assert packet.track_descriptor.uuid not in known
            known.add(packet.track_descriptor.uuid)
        if packet.HasField("track_event"):
            assert packet.track_event.track_uuid in known


def test_ranks_are_tracks_with_their_communicators_below(packets):
    """A rank is a process with its host in its name; communicators, phases and lanes lie below it."""
    names = sorted(tracks(packets).values())
    assert names == sorted(
        [
            "rank 0 · a",
            "rank 0 · a/dp",
            "rank 0 · a/dp",
            "rank 1 · b",
            "rank 1 · b/dp",
            "rank 1 · b/phases",
            "rank 2",
            "rank 2/dp",
            "Faults",
            "host b",
        ]
    )


def test_slices_open_and_close_as_they_should(packets):
    """On each track times never go back, nothing closes that is not open, and only what hangs stays open."""
    depth, last, opened = {}, {}, 0
    for packet in packets:
        event = packet.track_event
        if not packet.HasField("track_event") or event.type == TrackEvent.TYPE_INSTANT:
            continue
        track = event.track_uuid
        assert packet.timestamp >= last.get(track, 0)
        last[track] = packet.timestamp
        depth[track] = depth.get(track, 0) + (1 if event.type == TrackEvent.TYPE_SLICE_BEGIN else -1)
        opened += event.type == TrackEvent.TYPE_SLICE_BEGIN
        assert 0 <= depth[track] <= 1
    names = tracks(packets)
    assert opened == 9
    assert [names[track] for track, left in depth.items() if left] == ["rank 2/dp"]


def test_waits_are_flows_from_who_waited_to_who_came_last(packets):
    """Each flow begins in the slice that waited and ends in that of the last to enter, and in no other."""
    names = tracks(packets)
    begins, ends = {}, {}
    for packet in packets:
        for flow in packet.track_event.flow_ids:
            begins.setdefault(flow, []).append(names[packet.track_event.track_uuid])
        for flow in packet.track_event.terminating_flow_ids:
            ends.setdefault(flow, []).append(names[packet.track_event.track_uuid])
    assert sorted(begins.values()) == [["rank 0 · a/dp"], ["rank 2/dp"]]
    assert set(begins) == set(ends)
    assert set(map(tuple, ends.values())) == {("rank 1 · b/dp",)}


def test_faults_are_instants_on_their_own_track_and_on_the_culprits(packets):
    """A fault is seen beside the ranks it accuses, with its class."""
    names = tracks(packets)
    found = [
        (
            names[p.track_event.track_uuid],
            p.track_event.name,
            {a.name: a.string_value for a in p.track_event.debug_annotations},
        )
        for p in packets
        if p.HasField("track_event") and p.track_event.type == TrackEvent.TYPE_INSTANT
    ]
    told = "train is slowed by rank 1"
    assert found == [
        ("Faults", told, {"class": "slow.compute"}),
        ("rank 1 · b", told, {"class": "slow.compute"}),
        ("host b", "xid", {"message": "79"}),
    ]


def test_an_empty_stretch_is_a_trace():
    """Nothing recorded is no error."""
    read = Trace()
    read.ParseFromString(encode([], [], [], {}))
    assert len(read.packet) == 1


def test_perfettos_trace_processor_answers(tmp_path):
    """Queries find the slices, the flows and the fault.

    The Python package downloads the processor, which tests may not: it is used where one is installed.
    """
    program = os.environ.get("OFFBEAT_TEST_TRACE_PROCESSOR") or shutil.which("trace_processor_shell")
    if program is None:
        pytest.skip("no trace_processor_shell in PATH or OFFBEAT_TEST_TRACE_PROCESSOR")
    from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig  # noqa: PLC0415 - only where it can run

    (tmp_path / "t.pftrace").write_bytes(trace())
    with TraceProcessor(str(tmp_path / "t.pftrace"), config=TraceProcessorConfig(bin_path=program)) as processor:

        def one(query):
            return next(iter(processor.query(query))).n

        assert one("select count(*) as n from slice where name = 'all_reduce'") == 8
        assert one("select count(*) as n from flow") == 2
        assert one("select count(*) as n from slice where dur = 0 and name like 'train is slowed%'") == 2
        assert one("select count(*) as n from process where name like 'rank %'") == 3
