"""Layout: any pytree of arrays becomes one image, and comes back bit for bit."""

import contextlib
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from offbeat.recovery.memory import layout, tree
from offbeat.recovery.memory.arrays import bytes_of

TORCH_TYPES = [
    torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool,
    torch.complex64, torch.float8_e4m3fn,
]  # fmt: skip


@st.composite
def tensors(draw):
    """Draw a tensor of random bytes: NaN of all kinds, negative zeros and denormals among them."""
    kind = draw(st.sampled_from(TORCH_TYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    count = math.prod(shape) * kind.itemsize
    raw = draw(st.binary(min_size=count, max_size=count))
    if not raw:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(kind).reshape(shape)


NUMPY_TYPES = hnp.scalar_dtypes() | hnp.byte_string_dtypes(max_len=4)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=9) | tensors()
    | hnp.arrays(NUMPY_TYPES, hnp.array_shapes(min_dims=0, max_side=4, min_side=0))
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3)
    ),
    max_leaves=10,
)


def same(one, other):
    """Tell whether two trees are equal bit for bit, types included."""
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return (
            one.dtype == other.dtype
            and one.shape == other.shape
            and bytes_of(one).tobytes() == bytes_of(other).tobytes()
        )
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, float):
        return isinstance(other, float) and (one == other or (math.isnan(one) and math.isnan(other)))
    return type(one) is type(other) and one == other


def image_of(state):
    """Return the image of a tree, and its layout."""
    found, skeleton = tree.flatten(state)
    image = np.zeros(layout.plan(found, skeleton).nbytes, np.uint8)
    return image, layout.write(image, state)


@settings(deadline=None)
@given(TREES)
def test_every_tree_comes_back_bit_for_bit(state):
    """What was written is what is read, from a copy of the image that lies elsewhere."""
    image, written = image_of(state)
    read, _ = layout.parse(image.copy())
    assert read == written
    assert read.fingerprint == written.fingerprint
    assert same(state, layout.load(image.copy()))


@given(TREES, st.data())
@settings(deadline=None)
def test_a_damaged_head_is_an_error_and_nothing_else(state, data):
    """Flipped bytes in the head give another tree or a LayoutError, never another exception."""
    image, _ = image_of(state)
    length = 8 + int(image[:8].view("<u8")[0])
    for _ in range(3):
        image[data.draw(st.integers(0, length - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(layout.LayoutError):
        layout.load(image)


def test_strided_tensors_are_laid_out_in_order():
    """A transposed tensor and every second element are kept as what they are, not as what lies in memory."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {"t": base.t(), "s": base[:, ::2], "n": np.arange(9).reshape(3, 3).T}
    image, _ = image_of(state)
    loaded = layout.load(image)
    assert torch.equal(loaded["t"], base.t())
    assert torch.equal(loaded["s"], base[:, ::2])
    assert np.array_equal(loaded["n"], state["n"])


def test_arrays_are_aligned_and_apart():
    """Every array begins at a multiple of 64 and none overlaps the next."""
    _, found = image_of({"a": np.zeros(3, np.uint8), "b": torch.zeros(5), "c": np.zeros(0), "d": torch.zeros(())})
    ends = [found.head_bytes] + [e.offset + e.nbytes for e in found.entries]
    assert all(e.offset % 64 == 0 and e.offset >= end for e, end in zip(found.entries, ends, strict=False))


def test_the_fingerprint_tells_names_types_and_shapes_apart_but_not_numbers():
    """A learning rate is no part of it; a name, a type, a shape or an order is."""

    def fingerprint(**state):
        return image_of(state)[1].fingerprint

    plain = fingerprint(w=torch.zeros(4), lr=0.1)
    assert plain == fingerprint(w=torch.ones(4), lr=0.2)
    others = [fingerprint(v=torch.zeros(4), lr=0.1), fingerprint(w=torch.zeros(4, dtype=torch.bfloat16), lr=0.1),
              fingerprint(w=torch.zeros(2, 2), lr=0.1), fingerprint(w=np.zeros(4, np.float32), lr=0.1)]  # fmt: skip
    assert len({plain, *others}) == 5


def test_the_difference_names_the_entry():
    """Two layouts that do not fit are told apart by the name of the first entry that differs."""
    old = image_of({"model": {"w": torch.zeros(4), "b": torch.zeros(1)}})[1]
    assert (
        old.difference(image_of({"model": {"w": torch.zeros(5), "b": torch.zeros(1)}})[1])
        == "model/w: shape is (5,), not (4,)"
    )
    assert old.difference(image_of({"model": {"w": torch.zeros(4)}})[1]) == "model/b is missing"
    assert old.difference(old) == ""


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"f": object()}}, "a/f: a object cannot be kept"),
        ({"a": {1.5: 0}}, "a: the key 1.5"),
        ({"o": np.array([None])}, "o: an array of object"),
        ({"z": torch.zeros(2, device="meta")}, "z: a tensor of torch.strided, torch.float32 on meta"),
        ({"z": torch.zeros(2).to_sparse()}, "z: a tensor of torch.sparse_coo"),
    ],
)
def test_what_cannot_be_kept_is_named(state, message):
    """An error says which leaf it is about; nothing is pickled."""
    with pytest.raises((tree.TreeError, TypeError)) as caught:
        image_of(state)
    assert message in str(caught.value)


def test_numbers_may_grow_within_the_spare_room_only():
    """A skeleton that outgrew its head is refused, and the message says by how much."""
    image, found = image_of({"epoch": "1"})
    found.write_head(image, layout.text_of(tree.flatten({"epoch": "1" * 1000})[1]))
    assert layout.load(image) == {"epoch": "1" * 1000}
    with pytest.raises(layout.LayoutError, match="the head has room for"):
        found.write_head(image, layout.text_of(tree.flatten({"epoch": "1" * 40_000})[1]))


def test_torch_is_not_imported_for_arrays():
    """A trainer without torch can keep its arrays."""
    code = (
        "import sys, numpy as np; sys.modules['torch'] = None\n"
        "from offbeat.recovery.memory import layout\n"
        "image = np.zeros(65536, np.uint8); layout.write(image, {'w': np.arange(5)})\n"
        "print(layout.load(image)['w'].tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [0, 1, 2, 3, 4]
