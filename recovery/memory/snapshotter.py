"""`offbeat.Snapshotter`: the state of a training process in its keeper's memory, step after step.

Nothing here raises into training once it runs: a snapshot that cannot be taken is skipped and counted, and the first of
each kind is logged.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.recovery.memory import arrays, device, layout, tree
from offbeat.recovery.memory.agreement import NoAgreementError, Who, agree, who
from offbeat.recovery.memory.capture import Capture, RestoreError
from offbeat.recovery.memory.client import KeeperClient, KeeperGoneError, Slots, keeper_directory
from offbeat.recovery.memory.copier import SLOW, Copier, Figures, Snapshot, versions
from offbeat.recovery.memory.epoch import CHUNK, DATA, Epoch, Seal
from offbeat.recovery.memory.job import AbsentError
from offbeat.recovery.memory.slot import Slot, open_slot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger("offbeat")

BEGIN_SECONDS = 60.0
"""How long rank 0 asks again while a keeper does not answer or an epoch cannot be agreed on."""
RESTORE_SECONDS = 3600.0
"""How long a rebuild may take; a keeper that hangs must not keep a job from ever saying so."""
GRANT_SECONDS = 1.0
"""How long `step()` waits for a slot where all is copied within it; longer lets a keeper that hangs stop a job."""
SILENT_SECONDS = 10.0
"""How long a keeper that did not answer is left alone, so that training does not wait for it at every step."""


class Snapshotter:
    """Keeps copies of a training process's state with the keeper of this host, and puts one back."""

    def __init__(
        self,
        state: Any,
        optimizer: Any = None,
        *,
        extras: Mapping[str, Any] | None = None,
        every: int = 1,
        job: str | None = None,
        directory: Path | None = None,
        chunk: int = CHUNK,
    ) -> None:
        """Save *state*: a module with its optimizer, or any pytree of tensors, arrays and plain values.

        Args:
            state: A torch module (plain, DDP, FSDP2), or nested dicts, lists and tuples.
            optimizer: The module's optimizer, or a list of them. Its parameters are then copied while the next forward
                and backward run, and its step waits for the copy; without one, and of a pytree, all is copied within
                `step()`.
            extras: What else to save, by name: objects with `state_dict()` (scheduler, scaler, loader) or pytrees.
            every: Take a snapshot each so many steps.
            job: The job's name; otherwise OFFBEAT_JOB or the launcher's.
            directory: Where the keeper is; otherwise OFFBEAT_KEEPER_DIR, or shared memory.
            chunk: Bytes a checksum covers.

        Raises:
            TypeError: Something in it cannot be saved; the message names it.
        """
        optimizers = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer] if optimizer else []
        self._capture = Capture(state, optimizers, extras or {})
        self._lazy = bool(optimizers) and self._capture.lasting
        self._every, self._job, self._chunk = every, job, chunk
        self._client = KeeperClient(directory or keeper_directory())
        self._slots: Slots | None = None
        self._us: Who | None = None
        self._generation = 0
        self._layout: layout.Layout | None = None
        self._big: list[tuple[tree.Path, Any]] = []
        self._big_text = b""
        self._pending: Snapshot | None = None
        """What the trainer must not change yet."""
        self._last: Snapshot | None = None
        self._loss: Any = None
        self._silent_until = 0.0
        self._off = ""
        self._pid = os.getpid()
        self.figures = Figures()
        self.missing = ""
        """Which newer epochs `restore` could not use, and why."""
        for part in (self._capture.big(), self._capture.small()):
            tree.flatten(part)  # so that what cannot be saved is named now, not at the first step
        self._copier = Copier(self._ask, self._seal, self._tell, self._skip, self.figures)
        self._hooks = [o.register_step_pre_hook(self._before_update) for o in optimizers]
        atexit.register(self.close)

    def restore(self) -> int:
        """Put the newest state that all ranks have back into the program; the decision is the same on all ranks.

        Returns:
            The step to resume from, 0 when there is nothing to restore.

        Raises:
            RestoreError: There is a state, but it does not fit the program, or cannot be had now. The job must not go
                on as if there were none.
        """
        self.wait()
        try:
            epoch = self._begin(RESTORE_SECONDS)
        except NoAgreementError as error:
            raise RestoreError(str(error)) from None
        if self._us is None or epoch is None:
            return 0
        try:
            found = self._client.call("state", seconds=None, job=self._us.job, rank=self._us.rank, epoch=epoch)
            seal = Seal.of(found["seal"])
            descriptor, slot = open_slot(found["path"], writable=False)
            os.close(descriptor)
            image = slot.data[: seal.nbytes]
            entries, skeleton = layout.parse(image)
            if entries.fingerprint.hex() != seal.fingerprint:
                raise RestoreError("the image is not the one that was sealed")
            self._capture.put_back(entries.entries, entries.views(image), skeleton)
            damage = slot.damage(seal)  # of what was read just now
        except RestoreError:
            raise
        except Exception as error:
            raise RestoreError(f"rank {self._us.rank} of {epoch}: {error}") from error
        if damage:
            raise RestoreError(f"rank {self._us.rank} of {epoch}: {damage}")
        return epoch.step + 1

    def step(self, step: int, loss: Any = None) -> None:
        """Take a snapshot of the state after *step*; call it when the optimizer's step is done.

        Args:
            step: The number of the step that was done; `restore` returns the next one.
            loss: Shown with the epoch, and compared when the job has resumed; a number or a tensor of one.
        """
        if self._off or step % self._every or os.getpid() != self._pid:
            return
        begun = time.perf_counter()
        try:
            self._loss = loss
            self._take(step)
        except Exception as error:  # noqa: BLE001 - never into training
            self._skip(f"{type(error).__name__}: {error}")
        self.figures.last_stall_seconds = time.perf_counter() - begun
        self.figures.stall_seconds += self.figures.last_stall_seconds

    def wait(self) -> None:
        """Wait until the last snapshot is sealed, or is known to have failed; what it reads may be changed then."""
        self._settle(None)
        if self._last is not None:
            self._copier.wait(self._last)

    def close(self) -> None:
        """Finish the last snapshot and take no more; what is in the keeper's memory stays."""
        if os.getpid() != self._pid:
            return
        self.wait()
        self._off = "closed"
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._copier.close()
        self._client.close()
        if self._slots is not None:
            self._slots.close()
        atexit.unregister(self.close)

    def _take(self, step: int) -> None:
        self._settle(0)
        if not self._generation:
            self._begin_or_stop()
            if self._off:
                return
        if self._copier.asking or time.monotonic() < self._silent_until:
            self._skip(SLOW)
            return
        small, skeleton = self._collect()
        assert self._layout is not None
        staged = []
        for (_, value), entry in zip(small, self._layout.entries[len(self._big) :], strict=True):
            target = np.empty(entry.nbytes, np.uint8)
            arrays.read_into(value, target)
            staged.append(target)
        big = [value for _, value in self._big]
        text = b'{"d":[["big",' + self._big_text + b'],["small",' + layout.text_of(skeleton) + b"]]}"
        snapshot = Snapshot(step, self._layout, text, big, versions(big), staged, device.behind(big))
        self._pending = self._last = snapshot
        self._copier.submit(snapshot)
        if not self._lazy:
            self._copier.finish(snapshot, GRANT_SECONDS)

    def _collect(self) -> tuple[list[tuple[tree.Path, Any]], Any]:
        """Return what is to be copied now, with its skeleton; lay everything out anew where it has changed."""
        if self._layout is None or not self._capture.unchanged(self._big):
            found, skeleton = tree.flatten(self._capture.big())
            self._big = [(("big", *path), value) for path, value in found]
            self._big_text = layout.text_of(skeleton)
            if self._layout is not None and not self._layout.fits(self._big):
                self._layout = None
        found, skeleton = tree.flatten(self._capture.small(), len(self._big))
        small = [(("small", *path), value) for path, value in found]
        if self._layout is None or not self._layout.fits(small, len(self._big)):
            self._layout = layout.plan([*self._big, *small], [json.loads(self._big_text), skeleton])
        return small, skeleton

    def _begin_or_stop(self) -> None:
        """Begin without having restored; where the ranks cannot agree, take no snapshots."""
        try:
            self._begin(BEGIN_SECONDS)
        except NoAgreementError as error:
            self._stop(str(error))

    def _begin(self, seconds: float) -> Epoch | None:
        """Learn generation and epoch of this start; the ranks agree, or none takes snapshots."""
        us = who(self._job)
        found = agree(us, lambda: self._ask_for_generation(us, seconds))
        if "off" in found:
            self._stop(found["off"])
            return None
        self._us, self._generation, self.missing = us, int(found["generation"]), str(found["missing"])
        if self.missing and us.rank == 0:
            log.warning("offbeat: not restored: %s", self.missing)
        return Epoch(*found["epoch"]) if found["epoch"] else None

    def _stop(self, why: str) -> None:
        self._off = why
        if os.environ.get("LOCAL_RANK", "0") == "0":
            log.warning("offbeat: no snapshots are taken: %s", why)

    def _ask_for_generation(self, us: Who, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + BEGIN_SECONDS
        while True:
            try:
                return self._client.call("begin", seconds=seconds, job=us.job, world=us.world)
            except KeeperGoneError as error:
                return {"off": str(error)}
            except ValueError:  # of another number of ranks: asking again changes nothing
                raise
            except Exception:
                if time.monotonic() > deadline:
                    raise
            time.sleep(1.0)

    # Called in the copier's thread

    def _ask(self, snapshot: Snapshot) -> Slot:
        try:
            return self._ask_keeper(snapshot)
        except KeeperGoneError:
            self._silent_until = time.monotonic() + SILENT_SECONDS
            raise
        except AbsentError:  # the job was forgotten meanwhile; the next snapshot begins it anew
            if self._slots is not None:
                self._slots.close()
                self._slots = None
            raise

    def _ask_keeper(self, snapshot: Snapshot) -> Slot:
        assert self._us is not None
        us: dict[str, Any] = {"job": self._us.job, "rank": self._us.rank, "generation": self._generation}
        nbytes = snapshot.layout.nbytes
        if self._slots is None or self._slots.nbytes != nbytes:
            found = self._client.call("open", seconds=None, nbytes=nbytes, chunk=self._chunk, **us)
            if self._slots is not None:
                self._slots.close()
            self._slots = Slots(found["slots"], nbytes)
        name = self._client.call("grant", held=self._slots.held(), **us)["slot"]
        try:
            return self._slots[name]
        except KeyError:
            self._slots.close()
            self._slots = None
            raise KeeperGoneError("the keeper has other slots than before") from None

    def _seal(self, snapshot: Snapshot) -> Seal:
        assert self._us is not None
        return Seal(
            self._us.job, DATA, self._us.rank, self._us.world, self._generation, snapshot.step,
            snapshot.layout.nbytes, snapshot.layout.fingerprint.hex(), 0, 0,
        )  # fmt: skip

    def _tell(self, snapshot: Snapshot) -> None:
        assert self._us is not None
        told = {
            "step": snapshot.step,
            "loss": None if self._loss is None else float(getattr(self._loss, "detach", lambda: self._loss)()),
            "taken": self.figures.taken,
            "skipped": sum(self.figures.skipped.values()),
            "voided": self.figures.voided,
            "copy_seconds": self.figures.last_copy_seconds,
            "stall_seconds": self.figures.last_stall_seconds,
        }
        us: dict[str, Any] = {"job": self._us.job, "rank": self._us.rank, "generation": self._generation}
        self._client.call("sealed", figures=told, **us)

    # Called by the trainer

    def _before_update(self, *_: Any) -> None:
        """Wait, before the optimizer changes what is being copied."""
        if self._pending is None or os.getpid() != self._pid:
            return
        begun = time.perf_counter()
        self._settle(0)
        waited = time.perf_counter() - begun
        self.figures.last_stall_seconds += waited
        self.figures.stall_seconds += waited

    def _settle(self, patience: float | None) -> None:
        if self._pending is not None:
            self._copier.finish(self._pending, patience)
            self._pending = None

    def _skip(self, why: str) -> None:
        self.figures.skip(why)
        if self.figures.skipped[why] == 1:
            log.warning("offbeat: a snapshot was skipped: %s", why)
