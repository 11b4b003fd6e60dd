"""What a keeper holds of one job: slots of its ranks on this host, parity, and what must not be overwritten.

The state that decides about overwriting (`state.json`) is written before anything is promised, so that a keeper that is
killed and started again keeps every promise.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from offbeat.recovery.memory import grants, region, slot
from offbeat.recovery.memory.budget import Budget, BudgetError, size
from offbeat.recovery.memory.epoch import DATA, PARITY, Epoch, Seal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PARITY_SLOTS = 2
"""One for the committed epoch, one for the next: the old parity must stay until the new one is whole."""


class StaleError(Exception):
    """An order of a generation that has been superseded; whoever sent it is fenced."""


class AbsentError(Exception):
    """What is asked for is not here, or no longer whole; the message says what."""


@dataclass
class State:
    """What is promised: survives the keeper."""

    uid: int
    generation: int = 0
    committed: Epoch | None = None
    protected: set[Epoch] = field(default_factory=set)


@dataclass
class Room:
    """One slot and its open file."""

    path: Path
    descriptor: int
    slot: slot.Slot
    known: tuple[Seal, str] | None = None
    """The last seal that was compared with its data, and what was found."""

    def seal(self) -> Seal | None:
        """Return what it holds."""
        return self.slot.read()

    def verified(self) -> Seal | None:
        """Return what it holds if every checksum fits; compares them again each time."""
        seal = self.seal()
        return seal if seal is not None and not self.slot.damage(seal) else None


class Job:
    """One job on this host. Methods may be called from any thread."""

    def __init__(self, directory: Path, budget: Budget, slots: int, uid: int) -> None:
        """Take over what *directory* holds, or begin anew for user *uid*."""
        self.name = directory.name
        self._directory, self._budget, self._slots = directory, budget, slots
        self.lock = threading.RLock()
        directory.mkdir(mode=0o700, exist_ok=True)
        self._state_file = directory / "state.json"
        self.state = self._read_state(uid)
        self.rooms: dict[str, Room] = {}
        self.present: set[int] = set()
        """Ranks that have opened their slots in this generation."""
        for path in sorted(directory.glob("*.slot")):
            self._take(path)

    # Generations

    def admit(self, generation: int, *, new: bool = True) -> bool:
        """Let an order of *generation* pass; return whether it is a newer one than was known.

        Raises:
            StaleError: It is superseded.
        """
        with self.lock:
            if generation < self.state.generation:
                raise StaleError(
                    f"job {self.name}: generation {generation} is superseded by generation {self.state.generation}"
                )
            if generation == self.state.generation:
                return False
            if not new:
                raise StaleError(f"job {self.name}: generation {generation} is not known here")
            self.state.generation = generation
            self.present.clear()
            self._write_state()
            return True

    # Slots of trainers

    def open(self, rank: int, generation: int, nbytes: int, chunk: int, parity_share: float = 0.0) -> list[Room]:
        """Return the slots of *rank* that take images of *nbytes*, made where they are missing.

        Args:
            rank: The logical rank.
            generation: The caller's.
            nbytes: Length of the image.
            chunk: Bytes a checksum covers.
            parity_share: m / k of the code, for the arithmetic; 0 where nothing is coded.

        Raises:
            StaleError: The caller is fenced.
            BudgetError: They do not fit; the message has the sum.
        """
        with self.lock:
            self.admit(generation)
            fitting = [r for r in self._of(rank) if r.slot.chunk == chunk and r.slot.capacity >= nbytes]
            missing = self._slots - len(fitting)
            if missing > 0:
                self._drop(room for room in self._of(rank) if room not in fitting)
                fitting += self._make(f"rank-{rank:06d}", missing, nbytes, chunk, parity_share)
            self.present.add(rank)
            return fitting

    def grant(self, rank: int, generation: int, held: Iterable[str]) -> Room:
        """Return the slot that the trainer of *rank* may write now.

        Args:
            rank: The logical rank.
            generation: The caller's.
            held: Names of the slots that the trainer has locked; into others an older process may still write.

        Raises:
            StaleError: The caller is fenced.
            grants.NoSlotError: None may be written.
        """
        with self.lock:
            self.admit(generation, new=False)
            mine, rooms = set(held), self._of(rank)
            slots = [grants.Held(s.epoch if (s := r.seal()) else None, r.path.name not in mine) for r in rooms]
            return rooms[grants.choose(slots, self.state.protected, self.whole())]

    def whole(self) -> Epoch | None:
        """Return the newest epoch of this generation that all ranks have sealed, where all of them are here.

        What part of the ranks has sealed says nothing: hosts that each kept their own newest step might never again
        have one in common.
        """
        world = 0
        with self.lock:
            sealed: dict[int, set[Epoch]] = {rank: set() for rank in self.present}
            for seal in self.inventory():
                if seal.kind == DATA and seal.generation == self.state.generation:
                    sealed.setdefault(seal.rank, set()).add(seal.epoch)
                    world = seal.world
        common = set.intersection(*sealed.values()) if world and len(sealed) == world else set()
        return max(common, default=None)

    # Epochs

    def inventory(self, *, verified: bool = False) -> list[Seal]:
        """Return the seals of everything that is whole, with *verified* all checksums compared."""
        with self.lock:
            rooms = list(self.rooms.values())
        found = (room.verified() if verified else room.seal() for room in rooms)
        return [seal for seal in found if seal is not None and seal.job == self.name]

    def protect(self, generation: int, epoch: Epoch) -> list[int]:
        """Keep *epoch* from being overwritten; return the ranks whose part of it is here.

        Raises:
            StaleError: The caller is fenced.
        """
        with self.lock:
            self.admit(generation)
            ranks = [s.rank for s in self.inventory() if s.kind == DATA and s.epoch == epoch]
            self.state.protected.add(epoch)
            self._write_state()
            return sorted(ranks)

    def commit(self, generation: int, epoch: Epoch) -> None:
        """Let everything older than *epoch* go: all hosts have said that they keep their part of it.

        Raises:
            StaleError: The caller is fenced.
            AbsentError: It was not protected here.
        """
        with self.lock:
            self.admit(generation)
            last = self.state.committed
            if last is not None and last.generation == generation and epoch < last:
                raise StaleError(f"job {self.name}: {last} is committed already, {epoch} comes late")
            if epoch not in self.state.protected:
                raise AbsentError(f"job {self.name}: {epoch} was not protected here")
            # A newer epoch of this generation is on its way to be committed: its protection was promised, and an order
            # that is sent twice must not break the promise. Others of older generations were given up.
            on_the_way = {e for e in self.state.protected if e > epoch and e.generation == generation}
            self.state.committed = epoch
            self.state.protected = {epoch} | on_the_way
            self._write_state()
            kept = {self.manifest_file(e) for e in self.state.protected}
            for path in set(self._directory.glob("manifest-*.json")) - kept:
                path.unlink(missing_ok=True)

    def release(self, generation: int, epoch: Epoch) -> None:
        """Take a protection back; the committed epoch stays.

        Raises:
            StaleError: The caller is fenced.
        """
        with self.lock:
            self.admit(generation)
            if epoch != self.state.committed:
                self.state.protected.discard(epoch)
                self._write_state()

    def clear(self, generation: int) -> None:
        """Let everything go, of older generations too: nothing of it can be restored.

        Raises:
            StaleError: The caller is fenced.
        """
        with self.lock:
            self.admit(generation)
            self.state.committed = None
            self.state.protected = set()
            self._write_state()

    def find(self, kind: int, rank: int, epoch: Epoch) -> tuple[Room, Seal]:
        """Return the slot that holds a part of *epoch*, with its seal.

        Raises:
            AbsentError: It is not here.
        """
        with self.lock:
            for room in self.rooms.values():
                seal = room.seal()
                if seal and (seal.kind, seal.rank, seal.epoch) == (kind, rank, epoch) and seal.job == self.name:
                    return room, seal
        what = f"rank {rank}" if kind == DATA else "parity"
        raise AbsentError(f"job {self.name}: {what} of {epoch} is not here")

    def shards(self, epoch: Epoch) -> list[tuple[Room, Seal]]:
        """Return this host's ranks' parts of *epoch*, by rank."""
        with self.lock:
            found = [(r, s) for r in self.rooms.values() if (s := r.seal()) and s.kind == DATA and s.epoch == epoch]
        return sorted(found, key=lambda pair: pair[1].rank)

    def for_parity(self, nbytes: int, chunk: int) -> Room:
        """Return a slot for parity of *nbytes* that holds nothing which must stay.

        Raises:
            BudgetError: There is none, and no room for one.
        """
        with self.lock:
            mine = [r for r in self.rooms.values() if r.path.name.startswith("parity")]
            free = [r for r in mine if (s := r.seal()) is None or s.epoch not in self.state.protected]
            fitting = [r for r in free if r.slot.chunk == chunk and r.slot.capacity >= nbytes]
            if fitting:
                return fitting[0]
            self._drop(free)
            return self._make("parity", 1, nbytes, chunk, 0.0)[0]

    def manifest_file(self, epoch: Epoch) -> Path:
        """Return where the manifest of *epoch* lies."""
        return self._directory / f"manifest-{epoch.generation}-{epoch.step}.json"

    def write_manifest(self, epoch: Epoch, text: bytes) -> None:
        """Keep the manifest of *epoch* until a newer one is committed."""
        _replace(self.manifest_file(epoch), text)

    def bytes(self) -> int:
        """Return how much memory the job takes."""
        with self.lock:
            return sum(room.path.stat().st_size for room in self.rooms.values())

    def idle_seconds(self) -> float:
        """Return how long ago anything of the job was sealed or promised; 0 while a trainer holds a slot."""
        with self.lock:
            if any(region.locked(room.descriptor) for room in self.rooms.values()):
                return 0.0
            last = [seal.sealed_at / 1e9 for seal in self.inventory()]
        return time.time() - max([self._state_file.stat().st_mtime, *last])

    def close(self) -> None:
        """Let go of all files; they stay."""
        with self.lock:
            for room in self.rooms.values():
                os.close(room.descriptor)
            self.rooms.clear()

    def remove(self) -> None:
        """Forget the job and give its memory back."""
        with self.lock:
            for room in list(self.rooms.values()):
                self._remove(room)
            for path in self._directory.iterdir():
                path.unlink()
            self._directory.rmdir()

    # Files

    def _of(self, rank: int) -> list[Room]:
        prefix = f"rank-{rank:06d}."
        return [room for name, room in sorted(self.rooms.items()) if name.startswith(prefix)]

    def _take(self, path: Path) -> Room | None:
        try:
            descriptor, found = slot.open_slot(path)
        except (slot.SlotError, OSError):
            # Of another version, or damaged: it holds nothing we could serve, and its memory is wanted.
            path.unlink(missing_ok=True)
            return None
        room = self.rooms[path.name] = Room(path, descriptor, found)
        self._budget.used += path.stat().st_size
        if (seal := room.seal()) and seal.kind == PARITY and seal.epoch not in self.state.protected:
            found.begin()  # of an epoch that was given up
        return room

    def _make(self, prefix: str, count: int, nbytes: int, chunk: int, parity_share: float) -> list[Room]:
        each = slot.file_bytes(nbytes, chunk)
        words = f"{count} x {size(each)}"
        parity = int(PARITY_SLOTS * parity_share * nbytes)
        if parity:
            words += f" + parity {PARITY_SLOTS} x {parity_share:.2f} x {size(nbytes)}"
        self._budget.check(count * each + parity, f"{prefix}: {words}")
        made = []
        for _ in range(count):
            number = next(n for n in range(1 << 20) if f"{prefix}.{n}.slot" not in self.rooms)
            path = self._directory / f"{prefix}.{number}.slot"
            path.unlink(missing_ok=True)
            try:
                slot.create(path, nbytes, chunk)
            except OSError as error:
                raise BudgetError(f"{path}: {error.strerror}") from None
            room = self._take(path)
            assert room is not None
            made.append(room)
        return made

    def _drop(self, rooms: Iterable[Room]) -> None:
        """Remove slots of another size, unless they must stay or somebody may write into them."""
        for room in list(rooms):
            seal = room.seal()
            if (seal is None or seal.epoch not in self.state.protected) and not region.locked(room.descriptor):
                self._remove(room)

    def _remove(self, room: Room) -> None:
        self._budget.used -= room.path.stat().st_size
        os.close(room.descriptor)
        room.path.unlink(missing_ok=True)
        del self.rooms[room.path.name]

    def _read_state(self, uid: int) -> State:
        try:
            found: dict[str, Any] = json.loads(self._state_file.read_bytes())
            committed = found["committed"] and Epoch(*found["committed"])
            return State(found["uid"], found["generation"], committed, {Epoch(*e) for e in found["protected"]})
        except FileNotFoundError:
            state = State(uid)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AbsentError(f"{self._state_file} cannot be read: {error}") from None
        _replace(self._state_file, _text(state))
        return state

    def _write_state(self) -> None:
        _replace(self._state_file, _text(self.state))


def _text(state: State) -> bytes:
    found = {
        "uid": state.uid,
        "generation": state.generation,
        "committed": state.committed,
        "protected": sorted(state.protected),
    }
    return json.dumps(found).encode()


def _replace(path: Path, text: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    temporary.replace(path)
