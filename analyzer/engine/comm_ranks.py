"""From ranks inside a communicator to global ones: recorders below torch know no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from offbeat.analyzer.engine.columns import NONE, ints, words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Ints = np.ndarray[Any, np.dtype[np.int64]]


def resolve(table: pa.Table, names: Sequence[str], members: Mapping[str, Mapping[int, int]]) -> pa.Table:
    """Return *table* with global ranks in the columns *names*, as far as the members are known.

    Args:
        table: Has `comm`, and for each name also `<name>_comm_rank`.
        names: Columns of global ranks; where they are null, the rank inside the communicator is looked up.
        members: Communicator to rank inside it to global rank.
    """
    for name in names:
        inside = table.column(f"{name}_comm_rank")
        if inside.null_count == len(inside):
            continue
        known, place = ints(table, name).copy(), ints(table, f"{name}_comm_rank")
        asked = (known == NONE) & (place >= 0)
        if asked.any():
            known[asked] = _look_up(table.filter(pa.array(asked)), place[asked], members)
            column = pa.array(known, table.schema.field(name).type, mask=known == NONE)
            table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    return table


def _look_up(rows: pa.Table, place: Ints, members: Mapping[str, Mapping[int, int]]) -> Ints:
    found = np.full(len(place), NONE, np.int64)
    comms, comm = words(rows, "comm")
    for k, word in enumerate(comms):
        inside = members.get(word)
        if inside:
            ranks = np.full(max(inside) + 1, NONE, np.int64)
            ranks[list(inside)] = list(inside.values())
            mine = np.nonzero((comm == k) & (place < len(ranks)))[0]
            found[mine] = ranks[place[mine]]
    return found
