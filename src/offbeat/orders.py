"""Orders: what the service may ask of a node. A template and its arguments, never a command.

The service checks an order when it is given, and the node checks it again: neither believes the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_COMMUNICATORS = 1024
"""Bounds in one order; what a host's ranks belong to is far less."""
MOST_OPERATIONS = 1 << 20
"""Sequence numbers that one order may ask for; without it one order sends all that a node holds."""

_Seconds = Annotated[float, Field(gt=0, le=86_400)]
_Seq = Annotated[int, Field(ge=0, lt=1 << 62)]
_Word = Annotated[str, Field(min_length=1, max_length=255)]


class OrderError(ValueError):
    """An order that no node would take; the message names the field."""


class Arguments(BaseModel):
    """What every template says: which attempt of which job."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    job: _Word = Field(description="the job")
    attempt: int = Field(ge=0, lt=1 << 31, description="its attempt")


class Bounds(Arguments):
    """How long operations may last, as learned: past half of it a node tells of them at every poll."""

    otherwise: _Seconds = Field(description="bound in seconds of communicators that are not named")
    communicators: dict[_Word, _Seconds] = Field(
        default_factory=dict, max_length=MOST_COMMUNICATORS, description="communicator → bound in seconds"
    )


class DrillDown(Arguments):
    """Send the single operations of a stretch of a communicator that were kept on the node."""

    comm: _Word = Field(description="the communicator")
    from_seq: _Seq = Field(description="first sequence number")
    to_seq: _Seq = Field(description="last sequence number")

    @model_validator(mode="after")
    def _is_a_stretch(self) -> DrillDown:
        if not self.from_seq <= self.to_seq < self.from_seq + MOST_OPERATIONS:
            raise ValueError(f"to_seq must be from from_seq to from_seq + {MOST_OPERATIONS - 1}")
        return self


TEMPLATES: dict[str, type[Arguments]] = {"bounds": Bounds, "drill_down": DrillDown}
"""By the word that an order and a node's configuration call it by."""


def check(kind: str, arguments: Mapping[str, Any]) -> Arguments:
    """Return the checked arguments of an order.

    Raises:
        OrderError: There is no such template, or an argument does not fit it.
    """
    template = TEMPLATES.get(kind)
    if template is None:
        raise OrderError(f"kind: there is no template {kind[:64]!r}; there are {', '.join(TEMPLATES)}")
    try:
        return template.model_validate(arguments)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("arguments", *first["loc"])))
        raise OrderError(f"{place}: {first['msg']}") from None
