"""Following files that others write: new whole lines of all files that match, in bounded bites."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from glob import iglob
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.collector.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_SECONDS = 5.0
"""How often to look for new files."""
MAX_FILES = 512
MAX_LINE = 1 << 16
"""Longest line; the rest of a longer one is left out."""
BITE = 1 << 18
"""Bytes read of one file at once, so that one that grows fast leaves the others their turn."""
HEAD = 1 << 20
"""Bytes read at the beginning of a file that was there before us: who wrote it is said there."""


@dataclass(slots=True)
class _File:
    """Where reading stands in a file; `old_end` is how long it was when first seen at the start."""

    inode: tuple[int, int]
    old_end: int
    offset: int = 0
    skip: bool = False


class Tail:
    """The files that match any of some patterns."""

    def __init__(self, patterns: str, *, look_seconds: float = LOOK_SECONDS, bite: int = BITE) -> None:
        """Follow the files that match *patterns*, with `*` and `**`, several joined by `:`; *bite* bytes at once."""
        self._bite = bite
        self._patterns = [pattern for pattern in patterns.split(":") if pattern]
        self._pace = Pace(look_seconds)
        self._files: dict[Path, _File] = {}
        self._started = False

    def __bool__(self) -> bool:
        """Say whether there is any pattern."""
        return bool(self._patterns)

    def paths(self) -> list[Path]:
        """Return the files followed now."""
        return list(self._files)

    def lines(self) -> Iterator[tuple[Path, str, bool]]:
        """Yield (file, line, old) of each new whole line; old ones were there before us."""
        if self._pace.due():
            self._look()
        for path, file in list(self._files.items()):
            try:
                yield from self._read(path, file)
            except OSError:
                self._files.pop(path, None)

    def _look(self) -> None:
        found: dict[Path, os.stat_result] = {}
        for pattern in self._patterns:
            for name in islice(iglob(pattern, recursive=True), MAX_FILES):  # noqa: PTH207 - patterns may be absolute
                try:
                    about = os.lstat(name)
                except OSError:
                    continue
                if stat.S_ISREG(about.st_mode) and len(found) < MAX_FILES:
                    found[Path(name)] = about
        self._files = {path: file for path, file in self._files.items() if path in found}
        for path, about in found.items():
            inode = (about.st_dev, about.st_ino)
            if path not in self._files or self._files[path].inode != inode:
                self._files[path] = _File(inode, 0 if self._started else about.st_size)
        self._started = True

    def _read(self, path: Path, file: _File) -> Iterator[tuple[Path, str, bool]]:
        about = os.lstat(path)
        if about.st_size < file.offset:  # begun anew
            file.offset, file.old_end, file.skip = 0, 0, False
        if about.st_size <= file.offset:
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return
            data = os.pread(descriptor, self._bite, file.offset)
        finally:
            os.close(descriptor)
        start = file.offset
        end = data.rfind(b"\n") + 1
        if not end and len(data) >= MAX_LINE:
            yield from self._long(path, file, data)
            return
        file.offset = start + end
        for line in data[:end].split(b"\n")[:-1]:
            start += len(line) + 1
            if not file.skip:
                yield path, line[:MAX_LINE].decode("utf-8", "replace"), start <= file.old_end
            file.skip = False
        if file.offset >= HEAD and file.offset < file.old_end:
            file.offset = file.old_end - 1  # at its newline, or within a line
            file.skip = True

    def _long(self, path: Path, file: _File, data: bytes) -> Iterator[tuple[Path, str, bool]]:
        """Yield the beginning of a line that is too long, and skip the rest."""
        if not file.skip:
            yield path, data[:MAX_LINE].decode("utf-8", "replace"), file.offset < file.old_end
        file.offset += len(data)
        file.skip = True
