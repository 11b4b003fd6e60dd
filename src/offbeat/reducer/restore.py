"""Reduced tables as the raw ones that they stand for, as far as they tell: so whoever reads raw tables reads both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.reducer import edges, vectors

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa


def restore(name: str, table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield what *table* stands for, by name, in parts of bounded size; a table that is not reduced as it is."""
    if name == "vectors":
        for part in vectors.unfold(table):
            yield "collectives", part
    elif name == "edge_blocks":
        yield "transfers", edges.expand(table)
    else:
        yield name, table
