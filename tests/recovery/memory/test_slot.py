"""Slots: what was sealed is whole, what was not sealed is nothing, and damage is found."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offbeat.recovery.memory import region, slot
from offbeat.recovery.memory.epoch import DATA, Seal, job_name

CHUNK = 4096


def seal_of(step, nbytes, **changes):
    """Return what a trainer says of an image."""
    return Seal("job", DATA, 3, 8, 2, step, nbytes, "cd" * 32, 0, 0)._replace(**changes)


def fill(target, step, content):
    """Write one image as a trainer does."""
    target.begin()
    target.data[: len(content)] = np.frombuffer(content, np.uint8)
    target.seal(seal_of(step, len(content)), slot.checksums(target.data[: len(content)], CHUNK))


@pytest.fixture
def room(tmp_path):
    """Give a fresh slot of three chunks."""
    slot.create(tmp_path / "a.slot", 3 * CHUNK - 5, CHUNK)
    descriptor, found = slot.open_slot(tmp_path / "a.slot")
    yield found
    os.close(descriptor)


def test_a_sealed_image_is_read_back(room, tmp_path):
    """Another process's mapping sees seal and data; the file is nobody else's to read."""
    content = os.urandom(2 * CHUNK + 17)
    fill(room, 7, content)
    descriptor, again = slot.open_slot(tmp_path / "a.slot", writable=False)
    os.close(descriptor)
    seal = again.read()
    assert seal._replace(sealed_at=0, table=0) == seal_of(7, len(content))
    assert again.damage(seal) == ""
    assert again.data[: seal.nbytes].tobytes() == content
    assert (tmp_path / "a.slot").stat().st_mode & 0o777 == 0o600


def test_nothing_is_held_before_the_seal(room):
    """A fresh slot, and one being overwritten, hold nothing."""
    assert room.read() is None
    fill(room, 1, b"x" * 10)
    room.begin()
    assert room.read() is None
    room.begin()  # a second writer after the first was killed
    assert room.read() is None
    fill(room, 2, b"y" * 10)
    assert room.read().step == 2


@given(st.integers(1, 3 * CHUNK), st.data())
@settings(deadline=None, max_examples=40)
def test_every_flipped_bit_is_found(tmp_path_factory, nbytes, data):
    """A bit that flips anywhere in record, table or data makes the image void, never another one."""
    path = tmp_path_factory.mktemp("slot") / "a.slot"
    slot.create(path, 3 * CHUNK, CHUNK)
    descriptor, room = slot.open_slot(path)
    fill(room, 1, os.urandom(nbytes))
    seal = room.read()
    record = (128, 128 + slot._RECORD.size + 4)
    table = (slot.HEADER_BYTES, slot.HEADER_BYTES + 4 * room.chunks(nbytes))
    start = path.stat().st_size - room.capacity
    first, last = data.draw(st.sampled_from([record, table, (start, start + nbytes)]))
    at, bit = data.draw(st.integers(first, last - 1)), data.draw(st.integers(0, 7))
    os.pwrite(descriptor, bytes([os.pread(descriptor, 1, at)[0] ^ 1 << bit]), at)
    assert room.read() is None or room.damage(seal) != ""
    os.close(descriptor)


def test_a_killed_writer_leaves_whole_images_only(tmp_path):
    """Eight writers are killed at any moment; of two slots at most one is void, and what is sealed is whole."""
    paths = [tmp_path / f"{n}.slot" for n in range(2)]
    for path in paths:
        slot.create(path, 64 * CHUNK, CHUNK)
    opened = [slot.open_slot(path) for path in paths]
    program = Path(__file__).with_name("writer_process.py")
    voids = 0
    for attempt in range(8):
        with subprocess.Popen(
            [sys.executable, program, *paths, str(64 * CHUNK)], stdout=subprocess.PIPE, text=True
        ) as writer:
            writer.stdout.readline()
            assert all(region.locked(descriptor) for descriptor, _ in opened)
            deadline = time.monotonic() + 20
            while not all(found.read() for _, found in opened) and time.monotonic() < deadline:
                pass
            time.sleep(0.001 * (attempt))  # any moment will do
            os.kill(writer.pid, signal.SIGKILL)
        assert not any(region.locked(descriptor) for descriptor, _ in opened)
        seals = [found.read() for _, found in opened]
        voids += sum(seal is None for seal in seals)
        assert any(seals)
        for (_, found), seal in zip(opened, seals, strict=True):
            if seal is not None:
                assert found.damage(seal) == ""
                assert set(found.data[: seal.nbytes].tolist()) == {seal.step % 251}
    for descriptor, _ in opened:
        os.close(descriptor)
    assert voids, "no writer was killed while it wrote: the test showed nothing"


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    """A data loader that outlives its trainer does not make the slot look used."""
    slot.create(tmp_path / "a.slot", CHUNK, CHUNK)
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom offbeat.recovery.memory import region, slot\n"
        f"d, s = slot.open_slot(Path({str(tmp_path / 'a.slot')!r}))\nassert region.lock(d)\n"
        "child = os.fork()\nif child: print(child, flush=True); sys.stdin.readline(); os._exit(0)\ntime.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as trainer:
        child = int(trainer.stdout.readline())
        descriptor, _ = slot.open_slot(tmp_path / "a.slot")
        assert region.locked(descriptor)
        trainer.stdin.write("\n")
        trainer.stdin.flush()
        trainer.wait(20)
        assert not region.locked(descriptor)
        os.kill(child, 0)
        os.kill(child, signal.SIGKILL)
        os.close(descriptor)


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"x" * 10_000, b"OFFBEATS" + b"\1\0\0\0" + b"\0" * 9000])
def test_what_is_no_slot_is_refused(tmp_path, content):
    """Empty, short and foreign files are no slots."""
    (tmp_path / "a.slot").write_bytes(content)
    with pytest.raises(slot.SlotError):
        slot.open_slot(tmp_path / "a.slot")


def test_a_slot_takes_no_other_files_place(tmp_path):
    """A slot that is there is never made anew."""
    slot.create(tmp_path / "a.slot", CHUNK, CHUNK)
    with pytest.raises(FileExistsError):
        slot.create(tmp_path / "a.slot", CHUNK, CHUNK)


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", ".hidden", "x" * 129, "ä", None, 7])
def test_a_jobs_name_cannot_lead_elsewhere(text):
    """A name is one plain path component."""
    with pytest.raises(ValueError, match="job"):
        job_name(text)


@pytest.mark.parametrize(
    "fields", [[], ["job"] * 10, ["j", 0, 0, 1, 1, 1, 1, "ab" * 32, 0, None], ["j", 0, 0, 1, 1, 1, 1, "f", 0, 0], 7]
)
def test_what_is_no_seal_is_refused(fields):
    """A message from a peer that is no seal is an error that names the field."""
    with pytest.raises(ValueError, match="not a seal"):
        Seal.of(fields)
