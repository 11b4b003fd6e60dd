"""The API's description: `python -m offbeat.api.openapi > api/openapi.json`."""

from __future__ import annotations

import json
import sys

from offbeat.api.app import build


def text() -> str:
    """Return the OpenAPI document as it is committed."""
    return json.dumps(build().openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
