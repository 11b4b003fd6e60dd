"""All that a keeper holds: one directory on a tmpfs, one job a folder, one keeper at a time."""

from __future__ import annotations

import fcntl
import os
import threading
from typing import TYPE_CHECKING

from offbeat.recovery.memory.epoch import job_name
from offbeat.recovery.memory.job import AbsentError, Job

if TYPE_CHECKING:
    from pathlib import Path

    from offbeat.recovery.memory.budget import Budget


class VaultError(Exception):
    """The directory cannot be used."""


class Vault:
    """The jobs of one keeper. What a keeper before this one left is taken over."""

    def __init__(self, directory: Path, budget: Budget, slots: int = 3) -> None:
        """Take *directory*.

        Args:
            directory: Where everything lies; on a tmpfs.
            budget: What all of it together may take.
            slots: Slots a rank: 2 where every snapshot is coded, 3 where local ones are more frequent, 4 where the
                newest step common to all hosts must at no moment be missing.

        Raises:
            VaultError: Another keeper has it, or it cannot be made.
        """
        if slots < 2:
            raise VaultError(f"{slots} slots: with fewer than 2 every snapshot would overwrite the last one")
        self.directory, self._budget, self._slots = directory, budget, slots
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
            self._held = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise VaultError(f"cannot use {directory}: {error.strerror}") from error
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._held)
            raise VaultError(f"{directory} is in use by another keeper") from None
        for path in sorted(directory.iterdir()):
            if path.is_dir():
                try:
                    self._jobs[path.name] = Job(path, budget, slots, os.getuid())
                except AbsentError as error:
                    raise VaultError(str(error)) from None

    def names(self) -> list[str]:
        """Return the jobs that are held."""
        with self._lock:
            return sorted(self._jobs)

    def job(self, name: str) -> Job:
        """Return a job.

        Raises:
            AbsentError: Nothing of it is here.
        """
        with self._lock:
            try:
                return self._jobs[name]
            except KeyError:
                raise AbsentError(f"nothing of job {name} is here") from None

    def begin(self, name: str, uid: int) -> Job:
        """Return a job, begun for user *uid* where it is new.

        Raises:
            ValueError: It cannot be a job's name.
            PermissionError: The job is another user's.
        """
        with self._lock:
            found = self._jobs.get(job_name(name))
            if found is None:
                found = self._jobs[name] = Job(self.directory / name, self._budget, self._slots, uid)
        if uid not in {0, found.state.uid, os.getuid()}:
            raise PermissionError(f"job {name} belongs to another user")
        return found

    def forget(self, name: str) -> None:
        """Remove a job and what is held of it.

        Raises:
            AbsentError: Nothing of it is here.
        """
        job = self.job(name)
        with self._lock:
            del self._jobs[name]
        job.remove()

    def close(self) -> None:
        """Let another keeper have the directory; everything stays in it."""
        with self._lock:
            for job in self._jobs.values():
                job.close()
            os.close(self._held)
