"""Reading all sources, each on its own: one that fails costs its own rows and nobody else's."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa
import structlog

from offbeat.collector.source import NoData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from offbeat.collector.source import Source

BATCH_BYTES = 8 << 20
"""Plain bytes of one batch; without a bound, what a full set of rings holds at start is refused by the service."""

_log = structlog.get_logger()


class Collection:
    """The sources that this machine supports, and what they have said since it was last taken."""

    def __init__(
        self,
        sources: Sequence[Source],
        urgent: Callable[[str, pa.Table], bool] = lambda name, _: name == "events",
        prepare: Callable[[dict[str, pa.Table]], dict[str, pa.Table]] = lambda tables: tables,
    ) -> None:
        """Ask each source whether it is supported.

        Args:
            sources: Where to read.
            urgent: Says whether a table that was found must not wait.
            prepare: Makes of what the sources found what is sent of it.
        """
        self.urgent = False
        """Whether something was found that should be sent at once."""
        self.errors: Counter[str] = Counter()
        self.unsupported = [source.name for source in sources if not source.is_supported()]
        self._sources = [source for source in sources if source.name not in self.unsupported]
        self._failing: dict[str, str] = {}
        self._found: dict[str, list[pa.Table]] = {}
        self._added: dict[str, list[pa.Table]] = {}
        self._urgent = urgent
        self._prepare = prepare

    def read(self, *, sample: bool) -> None:
        """Read all sources, those that are sampled only if *sample*."""
        for source in self._sources:
            if source.sampled and not sample:
                continue
            try:
                tables = source.read()
            except NoData:
                tables = {}
            except Exception as error:  # noqa: BLE001 - whatever one source does, the others go on
                self._failed(source.name, error)
                continue
            if self._failing.pop(source.name, None):
                _log.info("source works again", source=source.name)
            for name, table in tables.items():
                if table.num_rows:
                    self._found.setdefault(name, []).append(table)
                    self.urgent = self.urgent or self._urgent(name, table)

    def add(self, tables: Mapping[str, pa.Table]) -> None:
        """Add tables that no source found; they are sent as they are."""
        for name, table in tables.items():
            self._added.setdefault(name, []).append(table)

    def take(self) -> Iterator[dict[str, pa.Table]]:
        """Yield what was found, in batches of bounded size; afterwards there is nothing left."""
        found = self._prepare(_joined(self._found))
        for name, table in _joined(self._added).items():
            found[name] = pa.concat_tables([found[name], table]) if name in found else table
        self._found, self._added, self.urgent = {}, {}, False
        batch: dict[str, pa.Table] = {}
        size = 0
        for name, whole in found.items():
            for part in _parts(whole):
                if batch and (name in batch or size + part.nbytes > BATCH_BYTES):
                    yield batch
                    batch, size = {}, 0
                batch[name] = part
                size += part.nbytes
        if batch:
            yield batch

    def _failed(self, name: str, error: Exception) -> None:
        self.errors[name] += 1
        why = f"{type(error).__name__}: {error}"
        if self._failing.get(name) != why:
            self._failing[name] = why
            _log.warning("source failed", source=name, why=why, exc_info=error)


def _joined(tables: Mapping[str, list[pa.Table]]) -> dict[str, pa.Table]:
    return {name: pa.concat_tables(parts) for name, parts in tables.items()}


def _parts(table: pa.Table) -> Iterator[pa.Table]:
    """Cut a table into parts of about half a batch."""
    rows = max(1, table.num_rows * (BATCH_BYTES // 2) // max(1, table.nbytes))
    for start in range(0, table.num_rows, rows):
        yield table.slice(start, rows)
