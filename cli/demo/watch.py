"""The demo's only source of findings: the service's public API, as any user has it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx2

from offbeat.cli.demo.judge import Sighting

if TYPE_CHECKING:
    from collections.abc import Iterator

POLL_SECONDS = 0.25
"""How often the API is asked; the times in the demo's table are late by at most as much."""


class Watch:
    """What the service says about one job.

    Args:
        url: Base URL of the service.
        token: A viewer's token.
        job: The job's name.
    """

    def __init__(self, url: str, token: str, job: str) -> None:
        self._job = job
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx2.Client(base_url=url, headers=headers, timeout=10.0, trust_env=False)
        self._seen: dict[str, Sighting] = {}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def state(self) -> str:
        """Return the job's state as the service sees it: learning, running, stalled, ended; empty: not known yet."""
        jobs = [job for job in self._items("/api/v1/jobs") if job["name"] == self._job or job["id"] == self._job]
        return str(max(jobs, key=lambda job: job["last_seen"])["state"]) if jobs else ""

    def look(self) -> list[Sighting]:
        """Ask for the job's incidents; return all that were ever seen, the oldest first."""
        now = time.time()
        for incident in self._items("/api/v1/incidents", job=self._job):
            sighting = self._seen.setdefault(incident["id"], Sighting(now, incident))
            sighting.incident = incident
            if incident["finding"] not in sighting.findings:
                sighting.findings.append(incident["finding"])
        return list(self._seen.values())

    def since(self, when: float) -> list[Sighting]:
        """Return the incidents first seen at or after *when* (Unix seconds)."""
        return [sighting for sighting in self.look() if sighting.first_seen >= when]

    def _items(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        while True:
            answer = self._client.get(path, params=query)
            answer.raise_for_status()
            page = answer.json()
            yield from page["items"]
            if page["next"] is None:
                return
            query["cursor"] = page["next"]
