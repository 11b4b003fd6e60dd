"""`offbeat doctor --service`: what the service on this machine stands on, with its settings, running or not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx2

from offbeat.cli.doctor import TIMEOUT_SECONDS, Check, State
from offbeat.settings import ServiceSettings
from offbeat.store import SchemaError, StoreError, census, schema
from offbeat.store.engine import Database
from offbeat.store.webhooks import WebhookStore

LEAST_FREE = 1 << 30
"""Bytes of room below which the disk counts as full: a busy hour of a small cluster."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The settings, and the database they name."""

    settings: ServiceSettings
    database: Database


def look(settings: ServiceSettings) -> list[Check]:
    """Return how each part stands; nothing is changed, and nothing is created."""
    checks = [_directory(settings), _pepper(settings), _reach(settings)]
    use = "incidents, tokens, the catalogue of segments"
    try:
        if not settings.database_url and not (settings.data / "offbeat.db").exists():
            return [*checks, Check("database", State.MISSING, "no database yet: the first start makes it", use)]
        with closing(Database(settings.sql_url)) as database:
            name = database.engine.url.render_as_string(hide_password=True)
            schema.check(database)
            checks.append(Check("database", State.OK, f"{name}, revision {schema.head()}", use))
            ground = Ground(settings, database)
            checks += [check(ground) for check in STANDING]
    except SchemaError as error:
        checks.append(Check("database", State.WRONG, str(error), use))
    except StoreError as error:
        checks.append(Check("database", State.WRONG, f"does not answer: {error}", use))
    return checks


def _directory(settings: ServiceSettings) -> Check:
    use = "segments of raw records"
    if not settings.data.exists():
        return Check("data directory", State.MISSING, f"{settings.data} is not there: the first start makes it", use)
    free = shutil.disk_usage(settings.data).free
    state = State.OK if free >= LEAST_FREE else State.WRONG
    return Check("data directory", state, f"{settings.data}, {free >> 20} MiB free", use)


def _pepper(settings: ServiceSettings) -> Check:
    use = "telling whose token it is"
    if settings.token_pepper.get_secret_value():
        return Check("token key", State.OK, "set by OFFBEAT_TOKEN_PEPPER", use)
    path = settings.data / "pepper"
    if not path.exists():
        return Check("token key", State.MISSING, "the first start makes it", use)
    if path.stat().st_mode & 0o077:
        return Check("token key", State.WRONG, f"{path} can be read by others", use)
    return Check("token key", State.OK, str(path), use)


def _reach(settings: ServiceSettings) -> Check:
    use = "taking telemetry, answering people"
    address = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.listen, settings.listen)  # noqa: S104 - compared
    url = f"http://{address}:{settings.port}"
    try:
        with httpx2.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            answer = client.get(f"{url}/readyz")
            checks = answer.json()["checks"]
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError) as error:
        return Check("api", State.MISSING, f"{url}: {error}", use)
    wrong = ", ".join(f"{part} {said}" for part, said in checks.items() if said != "ok")
    return Check("api", State.WRONG if wrong else State.OK, f"{url}: {wrong or 'ready'}", use)


def _segments(ground: Ground) -> Check:
    use = "drill-down, and a restarted analyzer's memory"
    known, gone = census.missing(ground.database, ground.settings.data / "segments")
    if gone:
        some = ", ".join(gone[:5])
        return Check("segments", State.WRONG, f"{len(gone)} of {known} files are missing: {some}", use)
    return Check("segments", State.OK, f"{known} files, all there", use)


def _logs(ground: Ground) -> Check:
    use = "what was accepted and is not yet in segments"
    folder = ground.settings.data / "log"
    logs = sorted(folder.glob("*.log")) if folder.exists() else []
    unreadable: list[Path] = sorted(folder.glob("*.unreadable")) if folder.exists() else []
    if unreadable:
        names = ", ".join(path.name for path in unreadable[:5])
        return Check("logs", State.WRONG, f"{len(unreadable)} could not be read back and were kept: {names}", use)
    size = sum(path.stat().st_size for path in logs if path.exists())
    return Check("logs", State.OK, f"{len(logs)} with {size >> 10} KiB", use)


def _alerts(ground: Ground) -> Check:
    use = "telling people"
    webhooks = WebhookStore(ground.database)
    pending, places = webhooks.pending(), len(webhooks.list())
    if not places:
        return Check("alerts", State.MISSING, "no webhook: nobody is told (offbeat webhook add)", use)
    return Check("alerts", State.OK, f"{places} webhooks, {pending} messages wait", use)


STANDING: tuple[Callable[[Ground], Check], ...] = (_segments, _logs, _alerts)
"""What is looked at once the database answers, in the order it is shown."""
