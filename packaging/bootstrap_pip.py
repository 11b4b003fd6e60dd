"""Put pip into the environment of the Python that runs this, where Python came without ensurepip, as on bare Debian.

The newest wheel is fetched from the package index (`PIP_INDEX_URL`, else PyPI), compared with the hash that the index
gives, and installs itself.
"""  # noqa: INP001 - a script, no part of a package

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urljoin
from urllib.request import Request, urlopen

SECONDS = 60
_WHEEL = re.compile(r"pip-([\d.]+)-py3-none-any\.whl")


def main() -> int:
    """Install pip and return an exit code; what stands in the way is one line."""
    try:
        return install()
    except (OSError, ValueError, KeyError) as error:
        print(f"pip cannot be had from the package index: {error}", file=sys.stderr)  # noqa: T201 - a script
        return 1


def install() -> int:
    """Install pip; return the exit code of its own installation.

    Raises:
        OSError: The index does not answer.
        ValueError, KeyError: It answers something else than the list of pip's files, or another file than it said.
    """
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    files = json.loads(fetch(index, "application/vnd.pypi.simple.v1+json"))["files"]
    wheels = [(match[1], file) for file in files if (match := _WHEEL.fullmatch(file["filename"]))]
    file = max(wheels, key=lambda wheel: [int(part) for part in wheel[0].split(".")])[1]
    content = fetch(urljoin(index, file["url"]))
    if hashlib.sha256(content).hexdigest() != file["hashes"]["sha256"]:
        raise ValueError(f"{file['filename']} has another hash than the index says")
    with tempfile.TemporaryDirectory() as directory:
        wheel = Path(directory) / file["filename"]
        wheel.write_bytes(content)
        command = [sys.executable, f"{wheel}/pip", "install", "--quiet", "--no-index", str(wheel)]
        return subprocess.run(command, check=False).returncode  # noqa: S603 - no shell, nothing from outside but a path


def fetch(url: str, accept: str = "*/*") -> bytes:
    """Return what is at *url*."""
    with urlopen(Request(url, headers={"Accept": accept}), timeout=SECONDS) as answer:  # noqa: S310 - the index's scheme
        return bytes(answer.read())


if __name__ == "__main__":
    sys.exit(main())
