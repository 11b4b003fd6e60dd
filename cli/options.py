"""Options that several commands share, and settings from them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from offbeat.cli.errors import CliError

S = TypeVar("S", bound=BaseSettings)


class Form(StrEnum):
    """How a reading command writes."""

    TABLE = "table"
    JSON = "json"


Url = Annotated[str | None, typer.Option("--url", help="The service; also unix:///path. [env: OFFBEAT_URL]")]
Token = Annotated[
    str | None, typer.Option("--token", help="Bearer token. [env: OFFBEAT_TOKEN; else the local service's own]")
]
Output = Annotated[Form | None, typer.Option("--output", "-o", help="table or json. [default: table]")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def given(context: typer.Context, name: str, value: Any) -> Any:
    """Return *value*, or what the group before the command was given for the option *name*."""
    if value is None and context.parent is not None:
        return context.parent.params.get(name)
    return value


def load(settings: type[S], flags: Mapping[str, Any]) -> S:
    """Return settings from *flags* (None: not given) over environment and file.

    Raises:
        CliError: A value does not fit; the message names its key.
    """
    try:
        return settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise CliError(f"setting {key} (OFFBEAT_{key.upper()}): {first['msg']}", exit_code=64) from None
