"""Orders: what fits a template is taken, and what does not is refused with the field's name."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.orders import MOST_OPERATIONS, TEMPLATES, Arguments, OrderError, check

DRILL = {"job": "train", "attempt": 1, "comm": "world@1", "from_seq": 10, "to_seq": 20}
BOUNDS = {"job": "train", "attempt": 1, "otherwise": 30.0, "communicators": {"world@1": 3.5}}


@pytest.mark.parametrize(("kind", "arguments"), [("drill_down", DRILL), ("bounds", BOUNDS)])
def test_what_fits_is_taken(kind, arguments):
    """Checked arguments say the same as they did before."""
    assert check(kind, arguments).model_dump() == arguments


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        ("shell", {}, "no template 'shell'"),
        ("drill_down", DRILL | {"command": "rm -rf /"}, "arguments.command"),
        ("drill_down", DRILL | {"to_seq": 9}, "to_seq must be from from_seq"),
        ("drill_down", DRILL | {"to_seq": 10 + MOST_OPERATIONS}, "to_seq must be"),
        ("drill_down", DRILL | {"from_seq": -1}, "arguments.from_seq"),
        ("drill_down", DRILL | {"comm": ""}, "arguments.comm"),
        ("bounds", BOUNDS | {"communicators": {"a": 0}}, "arguments.communicators.a"),
        ("bounds", {"job": "train", "attempt": 1}, "arguments.otherwise"),
    ],
)
def test_what_does_not_fit_is_refused(kind, arguments, words):
    """The message names the field, or the templates there are."""
    with pytest.raises(OrderError, match=words):
        check(kind, arguments)


@given(
    kind=st.sampled_from([*TEMPLATES, "other"]),
    arguments=st.dictionaries(
        st.sampled_from([*DRILL, *BOUNDS, "x"]),
        st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.dictionaries(st.text(), st.floats())),
    ),
)
def test_nothing_else_comes_out(kind, arguments):
    """Whatever comes in, either checked arguments come out or an `OrderError`."""
    with contextlib.suppress(OrderError):
        assert isinstance(check(kind, arguments), Arguments)
