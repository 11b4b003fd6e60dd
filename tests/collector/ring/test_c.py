"""The C header and the Python modules are one format."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support import wait_until

from offbeat.collector.ring import layout
from offbeat.collector.ring.reader import OPERATION, TRANSFER, RingReader

HEADER = Path(__file__).parents[3] / "collector/recorders/nccl"
COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Compile the C writer, or skip where there is no compiler."""
    if COMPILER is None:
        pytest.skip("no C compiler on this machine")
    binary = tmp_path_factory.mktemp("c") / "writer"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{HEADER}"]
    subprocess.run([COMPILER, *flags, str(Path(__file__).with_name("writer.c")), "-o", str(binary)], check=True)
    return binary


@pytest.fixture
def started(program, tmp_path):
    """Return a function that starts the program and returns it with the path of its ring."""
    running = []

    def start(what, *arguments):
        process = subprocess.Popen(
            [program, what, tmp_path, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_constants_agree(program):
    """Every size, place and number the header knows is the one Python knows, and the other way round."""
    said = subprocess.run([program, "layout"], capture_output=True, text=True, check=True).stdout
    c = {name: int(value) for name, value in (line.split() for line in said.splitlines())}
    expected = {f"operation.{name}": offset for name, (_, offset) in OPERATION.fields.items()}
    expected |= {f"transfer.{name}": offset for name, (_, offset) in TRANSFER.fields.items()}
    expected |= {f"OFFBEAT_{name.upper()}": code for name, code in layout.OP_CODE.items()}
    expected |= {f"OFFBEAT_COUNT_{name.upper()}": index for index, name in enumerate(layout.COUNTER_NAMES)}
    expected |= {f"OFFBEAT_AREA_{name.upper()}": index for index, name in enumerate(layout.AREA_NAMES)}
    same = (
        *("VERSION", "HEADER_BYTES", "STRING_BYTES", "COMMUNICATORS", "MEMBERS", "OPEN_SLOTS", "SAMPLES", "MESSAGES"),
        *("LANES", "LANE_RECORDS", "AREAS_AT", "LANE_COUNT_AT", "IDENTITY_AT", "CLOCK_AT", "EXIT_AT", "COUNTERS_AT"),
        *("CURSORS_AT", "CURSOR_STRIDE", "NO_CODE", "ENQUEUED", "STARTED", "COMPLETED", "UNKNOWN", "FAILED"),
        *("VERSION_TRANSFERS", "TRANSFER", "ON_DEVICE", "COMM_RANKS"),
    )
    expected |= {f"OFFBEAT_{name}": getattr(layout, name) for name in same}
    assert c == expected


def test_python_reads_what_c_writes(started):
    """Identity, communicators, operations and messages come through, also after a kill; a forked child adds nothing."""
    process, path = started("write")
    with RingReader(path) as reader:
        assert reader.alive()
        assert reader.local_pid() == process.pid == reader.header.pid
        process.kill()
        wait_until(lambda: not reader.alive())
        poll = reader.poll()
        texts = reader.strings
    header = poll.header
    assert (header.job, header.attempt, header.rank, header.world, header.local_rank) == ("c-job", 5, 2, 8, 1)
    assert header.source == "nccl"
    assert path.name == f"{header.pidns}-{header.pid}-{header.start_ticks}-nccl.ring"
    assert [(c.comm, c.name, c.comm_rank, c.n_ranks, c.members, c.attempt) for c in poll.comms] == [
        ("even@1", "even", 1, 3, (0, 2, 4), 5),
        ("odd@2", "odd", 0, 3, (7, 3, 9), 5),
        ("unknown@3", "unknown", 0, 16, (), 5),
    ]
    (done,), (left,) = poll.completed, poll.open
    assert [texts[done[word]] for word in ("native", "dtype", "redop", "algo", "proto")] == [
        *("Broadcast", "ncclFloat32", "", "RING", "LL128"),
    ]
    expected = {"comm": 1, "clock": 1, "channels": 12, "graph": 1, "root": 4, "peer": -1, "group": 77, "seq": 41}
    expected |= {"fn_seq": 13, "p2p_seq": -1, "nbytes": 1 << 20, "stream": 99, "state": 2, "flags": 1}
    assert {name: done[name] for name in expected} == expected
    assert done["started"] == done["enqueued"] + 10
    assert done["ended"] > done["enqueued"]
    assert (layout.OPS[left["op"]], left["comm"], left["peer"], left["p2p_seq"]) == ("send", 2, 9, 3)
    assert (left["state"], left["started"]) == (layout.STARTED, left["enqueued"] + 20)
    assert [(m.kind, m.text, m.code) for m in poll.messages] == [("recorder_note", "from C", 8)]
    assert (poll.exit, poll.torn, poll.overwritten) == (None, 0, 0)
    assert abs(poll.clock[1] - header.created_ns) < 10**9


def test_threads_that_write_at_once_are_read_whole(started):
    """While more threads than lanes write, a reader gets every record once, whole, or counts it as overwritten."""
    threads, each = 11, 6000
    process, path = started("race", threads, each)
    pieces, lost = [], 0
    with RingReader(path) as reader:
        ended = False
        while not ended:
            poll = reader.poll()
            ended = poll.exit is not None
            pieces.append(poll.completed)
            lost += poll.overwritten
        # Until all have ended, a thread that lost its CPU in the midst of a claim leaves an open slot half written.
        last = reader.poll()
        pieces.append(last.completed)
        assert (last.torn, len(last.open)) == (0, 0)
    process.stdin.write("\n")
    process.stdin.flush()
    seen = np.concatenate([piece.view(np.uint64) for piece in pieces]).view(OPERATION)
    assert len(seen) + lost == threads * each
    assert len(np.unique(seen["id"])) == len(seen)
    assert (seen["stream"] == seen["seq"] * 7 + seen["nbytes"]).all()
    assert process.wait(10) == 0
