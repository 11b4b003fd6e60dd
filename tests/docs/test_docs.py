"""The documentation: what can be checked by a program is true."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from offbeat.cli.main import COMMANDS
from offbeat.model import FaultClass
from offbeat.settings import AgentSettings, KeeperSettings, ServiceSettings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
PARTS = ("**How it was found.**", "**What to check.**", "**What to do.**")


def anchors(page):
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_reference_is_what_the_code_says():
    """The committed reference is what `docs/generate_reference.py` writes from the code."""
    done = subprocess.run(
        [sys.executable, DOCS / "generate_reference.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nrun: python docs/generate_reference.py"


def test_the_served_runbook_is_what_the_runbook_says():
    """The pages that the dashboard serves are what `docs/generate_runbook.py` writes from docs/runbook."""
    pytest.importorskip("markdown", reason="markdown is not installed (extra docs)")
    done = subprocess.run(
        [sys.executable, DOCS / "generate_runbook.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nrun: python docs/generate_runbook.py"


@pytest.mark.parametrize("fault", FaultClass)
def test_every_fault_class_has_a_runbook(fault):
    """Each class has one section that says what it means, how it was found, what to check and what to do."""
    section = re.compile(rf"^## {re.escape(fault)}\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    sections = [text for page in (DOCS / "runbook").glob("*.md") for text in section.findall(page.read_text("utf-8"))]
    assert len(sections) == 1
    assert all(part in sections[0] for part in PARTS)
    assert not sections[0].lstrip().startswith("**"), "the first paragraph says what it means"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    """Each relative link names a file that exists and, where it has one, an anchor of that file."""
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_and_settings_exist(page):
    """What the pages call `offbeat …` is a command, and each OFFBEAT_ variable is a setting or the recorder's."""
    text = page.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```(?:sh|ini|text)\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text))
    called = set(re.findall(r"(?:^|\s|/)offbeat ([a-z]+)", code)) - {"up"}
    assert called <= set(COMMANDS)
    kinds = (AgentSettings, KeeperSettings, ServiceSettings)
    settings = {f"OFFBEAT_{name.upper()}" for kind in kinds for name in kind.model_fields}
    others = {"OFFBEAT_CONFIG", "OFFBEAT_"}
    sources = [path for room in ("recorders", "ring") for path in (DOCS.parent / "collector" / room).rglob("*.*")]
    sources.append(DOCS.parent / "src/offbeat/jobname.py")
    read = "".join(path.read_text(encoding="utf-8") for path in sources if path.suffix in {".c", ".py"})
    others |= set(re.findall(r'"(OFFBEAT_[A-Z_]+)"', read))
    assert set(re.findall(r"OFFBEAT_[A-Z_]*", text)) <= settings | others


def test_the_signature_example_works():
    """The code on verifying webhooks takes a message signed as the service signs, and no other."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "operations.md").read_text(encoding="utf-8"), re.DOTALL)
    space = {}
    exec(next(block for block in blocks if "def verify" in block), space)
    secret, body, now = "whsec_" + base64.b64encode(os.urandom(24)).decode(), '{"a": "ä"}', datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": "v1,AAAA " + Webhook(secret).sign("msg_1", now, body),
    }
    verify = space["verify"]
    assert verify(secret, headers, body.encode())
    assert not verify(secret, headers, body.encode() + b" ")
    assert not verify(secret, headers | {"webhook-id": "msg_2"}, body.encode())
    assert not verify(secret, headers | {"webhook-timestamp": str(int(time.time()) - 301)}, body.encode())
    assert not verify(secret, headers | {"webhook-timestamp": "x"}, body.encode())


def test_json_examples_are_json():
    """Every JSON block can be read."""
    for page in PAGES:
        for block in re.findall(r"```json\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            json.loads(block)


def test_the_site_builds(tmp_path):
    """The site builds without a warning."""
    pytest.importorskip("zensical", reason="zensical is not installed (extra docs)")
    config = tmp_path / "mkdocs.yml"
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    shutil.copytree(DOCS, tmp_path / "docs")
    config.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "-f", config],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site/index.html").is_file()


def test_the_first_screen_of_the_readme():
    """The README begins with what it is, the two commands and the picture."""
    first = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:16])
    assert "make demo" in first
    assert "make test" in first
    assert "](docs/assets/dashboard.png)" in first
    assert (DOCS / "assets/dashboard.png").read_bytes().startswith(b"\x89PNG")
