"""The dashboard's files at `/`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from starlette.staticfiles import StaticFiles

from offbeat.dashboards import HEADERS, SHARED, WEB

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response
    from starlette.types import Scope


class _Dashboard(StaticFiles):
    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        shared = SHARED.get(path)
        return super().lookup_path(path) if shared is None else (str(shared), shared.stat())

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def mount(app: FastAPI) -> None:
    """Serve the dashboard below everything else, when this installation has it."""
    if WEB.is_dir():
        app.mount("/", _Dashboard(directory=WEB, html=True), name="dashboard")
