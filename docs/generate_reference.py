"""Write docs/reference/ from the registries in the code: `python docs/generate_reference.py [--check]`.

With --check nothing is written; the exit code is 1 when a page is not what the code says.
"""  # noqa: INP001 - a script, no part of a package

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offbeat import faults, metrics, records, settings
from offbeat.api.app import build
from offbeat.cli.main import COMMANDS, load
from offbeat.model import IncidentState, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DOCS = Path(__file__).parent
ROOT = DOCS.parent
NOTE = "<!-- Written by docs/generate_reference.py. Change the code, then run it again. -->\n"
_FAULT = re.compile(r"FaultClass\.([A-Z_]+)")


def fault_classes() -> str:
    """Return the page of fault classes: what each means, what to do, and whether this version names it."""
    named = _named()
    rows = [
        (
            f"[`{fault}`](../runbook/{words.runbook}.md#{words.anchor})",
            words.title,
            words.meaning,
            words.advice,
            "yes" if fault.name in named else "not yet",
        )
        for fault, words in faults.FAULTS.items()
    ]
    words = "\n".join(
        f"* {title}: {', '.join(f'`{word}`' for word in kind)}"
        for title, kind in (("Severity", Severity), ("State of an incident", IncidentState))
    )
    advice = "".join(f"* `{action}`: {words}.\n" for action, words in faults.ACTIONS.items())
    return (
        "# Fault classes\n\nOne closed list, used in findings, incidents, alerts, metrics and on the dashboard. "
        "The last column says whether a rule of this version can name it.\n\n"
        + _table(("class", "title", "what it means", "what to do", "named by this version"), rows)
        + f"\nOther closed lists of a finding:\n\n{words}\n\nIts advice:\n\n{advice}"
    )


def _named() -> set[str]:
    sources = (ROOT / "analyzer").rglob("*.py")
    return {name for path in sources for name in _FAULT.findall(path.read_text(encoding="utf-8"))}


def record_tables() -> str:
    """Return the page of records: every table and column."""
    head = (
        "# Records\n\nThe tables that agents send, captures hold and the engine reads. Times are integer nanoseconds "
        "since the Unix epoch (UTC); ranks are global ranks of the job unless the name says `comm_rank`. Columns "
        "marked *required* may be neither missing nor null. Unknown columns are left out and counted.\n\n"
        "Every table begins with `job` and `attempt`.\n"
    )
    parts = [head]
    for name, columns in records.TABLES.items():
        rows = [
            (f"`{f.name}`", str(f.type).replace("|", "\\|") + (", required" if f.required else ""), f.meaning)
            for f in columns
        ]
        parts.append(f"\n## {name}\n\n{_table(('column', 'type', 'meaning'), rows)}")
    words = ", ".join(f"`{op}`" for op in records.OPS)
    return (
        "".join(parts)
        + f"\n## Words\n\nOperations: {words}.\n\nStates: {', '.join(f'`{s}`' for s in records.STATES)}.\n"
    )


def setting_tables() -> str:
    """Return the page of settings."""
    head = (
        "# Settings\n\nA flag wins over an environment variable, that over the TOML file which `OFFBEAT_CONFIG` names. "
        "In the file the key is the name in lower case without `OFFBEAT_`.\n"
    )
    parts = [head]
    own: set[str] = set()
    for title, kind in (
        ("Every command that speaks to the service", settings.ClientSettings),
        ("The agent, besides", settings.AgentSettings),
        ("The service", settings.ServiceSettings),
        ("The keeper", settings.KeeperSettings),
    ):
        rows = []
        for name, field in kind.model_fields.items():
            if name not in own:
                rows.append((f"`OFFBEAT_{name.upper()}`", _default(field), field.description or ""))
        own = set(kind.model_fields)
        parts.append(f"\n## {title}\n\n{_table(('variable', 'default', 'meaning'), rows)}")
    return "".join(parts)


WORKED_OUT = {
    "gethostname": "the machine's host name",
    "_keeper_dir": "`/dev/shm/offbeat-keeper-<uid>`",
    "spool_directory": "`/var/lib/offbeat/spool`; `~/.local/state/offbeat/spool` where that is not ours to write",
}
"""Defaults that depend on the machine, in words."""


def _default(field: Any) -> str:
    if field.default_factory is not None:
        return WORKED_OUT[field.default_factory.__name__]
    value = field.default.get_secret_value() if hasattr(field.default, "get_secret_value") else field.default
    return "" if value in {None, ""} else f"`{value}`"


def commands() -> str:
    """Return the page of the command line."""
    head = (
        "# Command line\n\nExit codes: 0 done, or healthy; 1 not healthy; 3 could not tell, or could not do it; "
        "64 wrong usage. Reading commands take `--output table|json`, acting ones `--dry-run`.\n"
    )
    parts = [head]
    for name in COMMANDS:
        if importlib.util.find_spec(f"offbeat.cli.{name}") is not None:
            parts += [_command(f"offbeat {name}", command) for name, command in _walk(name, load(name))]
    return "".join(parts)


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for sub in sorted(getattr(command, "commands", {})):
        yield from _walk(f"{name} {sub}", command.commands[sub])


def _command(name: str, command: Any) -> str:
    text = [f"\n## {name}\n\n{_plain(command.help)}\n"]
    parameters = [p for p in command.params if p.name != "help" and not getattr(p, "hidden", False)]
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    words = " ".join(p.metavar or p.name.upper() for p in arguments)
    options = [p for p in parameters if p.param_type_name == "option"]
    kinds = f"{' COMMAND' if hasattr(command, 'commands') else ''}{' [OPTIONS]' if options else ''} {words}".rstrip()
    text.append(f"\n```text\n{name}{kinds}\n```\n")
    if options:
        rows = [(" ".join(f"`{o}`" for o in (*p.opts, *p.secondary_opts)), _plain(p.help)) for p in options]
        text.append("\n" + _table(("option", "meaning"), rows))
    if command.epilog:
        example = command.epilog.removeprefix("Example: ")
        text.append(f"\nExample: `{example}`\n")
    return "".join(text)


def _plain(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n")).strip()


def metric_table() -> str:
    """Return the page of the service's own metrics."""
    rows = [(f"`{m.name}`", m.kind, " ".join(f"`{x}`" for x in m.labels), m.meaning) for m in metrics.TABLE.values()]
    return (
        "# Metrics\n\nWhat the service says of itself at `/metrics` (Prometheus text, or OpenMetrics when asked for). "
        "Every name is there from the first scrape on.\n\n" + _table(("name", "kind", "labels", "meaning"), rows)
    )


def calls() -> str:
    """Return the page of the HTTP API."""
    rows = []
    for path, methods in build().openapi()["paths"].items():
        for method, call in methods.items():
            rows.append((f"`{method.upper()} {path}`", call["summary"], _plain(call.get("description"))))
    return (
        "# HTTP API\n\nThe whole description, with all shapes, is OpenAPI 3.1: `GET /api/v1/openapi.json` of a running "
        "service, and `api/openapi.json` in the repository. Errors are RFC 9457 `application/problem+json`. Lists come "
        "in pages: pass `next` back as `cursor`. Programs send `Authorization: Bearer <token>`; changes may carry an "
        "`Idempotency-Key`.\n\n" + _table(("call", "does", "more"), rows)
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |\n" for line in lines)


PAGES: dict[str, Callable[[], str]] = {
    "fault-classes.md": fault_classes,
    "records.md": record_tables,
    "settings.md": setting_tables,
    "cli.md": commands,
    "metrics.md": metric_table,
    "api.md": calls,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check say which are not what they should be."""
    stale = []
    for name, make in PAGES.items():
        path, text = DOCS / "reference" / name, NOTE + "\n" + make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for name in stale:
        sys.stdout.write(f"docs/reference/{name} {'is stale' if '--check' in arguments else 'written'}\n")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
