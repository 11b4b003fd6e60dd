"""Pickles from anybody."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.analyzer.readers import safe_pickle
from offbeat.analyzer.readers.errors import ReadError

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=30,
)


@given(plain, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_are_read_back(value, protocol):
    """Whatever a dump can hold, in every protocol."""
    assert safe_pickle.loads(pickle.dumps(value, protocol=protocol)) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [os.system, collections.OrderedDict(a=1), ValueError("x")])
def test_classes_and_functions_are_refused(value, protocol):
    """Nothing that would run code is loaded."""
    with pytest.raises(ReadError, match="refused class"):
        safe_pickle.loads(pickle.dumps(value, protocol=protocol))


@pytest.mark.parametrize("data", [b"\x80\x02]r\xff\xff\xff\x7f.", b"]p999999999\n.", b"(lp99999999999999999999\n."])
def test_a_pickle_cannot_ask_for_gigabytes(data):
    """A few bytes that name a huge memo index are refused before anything is allocated."""
    tracemalloc.start()
    with pytest.raises(ReadError, match="absurd"):
        safe_pickle.loads(data)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_read(data):
    """Any bytes give a value or a reason, nothing else."""
    with contextlib.suppress(ReadError):
        safe_pickle.loads(data)


@given(plain, st.data())
def test_cut_and_altered_pickles_are_refused_or_read(value, data):
    """Damage never gets further than a reason."""
    blob = bytearray(pickle.dumps(value, protocol=2))
    blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(blob)))
    with contextlib.suppress(ReadError):
        safe_pickle.loads(bytes(blob[:cut]))
