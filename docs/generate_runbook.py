"""Write dashboards/web/runbook/ from docs/runbook/: `python docs/generate_runbook.py [--check]`.

The dashboard serves the runbook itself, so that the link in an alert works where no other site can be reached. With
--check nothing is written; the exit code is 1 when a page is not what the runbook says.
"""  # noqa: INP001 - a script, no part of a package

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path

from markdown import Markdown

from offbeat import dashboards, faults

DOCS = Path(__file__).parent
SOURCES = DOCS / "runbook"
PAGES = dashboards.WEB / "runbook"
POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'"

PAGE = """<!doctype html>
<html lang="en">
<!-- Written by docs/generate_runbook.py from docs/runbook/{source}. -->
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Offbeat</title>
<link rel="icon" href="../favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="../style.css">
<link rel="stylesheet" href="../runbook.css">
</head>
<body>
<header class="bar">
<p class="brand"><img src="../favicon.svg" alt="" width="26" height="26"><a href="../">Offbeat</a></p>
</header>
<main class="runbook">
<nav aria-label="Runbook"><ul>{nav}</ul></nav>
<article class="panel">
{body}
</article>
</main>
</body>
</html>
"""


def page(source: Path) -> str:
    """Return the HTML page of the runbook page *source*."""
    text = source.read_text(encoding="utf-8")
    reader = Markdown(
        extensions=["tables", "fenced_code", "toc"],
        extension_configs={"toc": {"slugify": lambda heading, _: faults.anchor(heading)}},
    )
    body = re.sub(r'<a href="([^"]+)">(.*?)</a>', _link, reader.convert(text))
    nav = "".join(
        f'<li><a href="{path.stem}.html"{" aria-current=page" if path == source else ""}>{escape(title(path))}</a></li>'
        for path in sources()
    )
    return PAGE.format(source=source.name, policy=POLICY, title=escape(title(source)), nav=nav, body=body)


def _link(found: re.Match[str]) -> str:
    target, words = found.groups()
    name, mark, section = target.partition("#")
    if re.match(r"https?:", target):
        return found[0]
    if (SOURCES / name).exists():  # another section of the runbook; the rest of the documentation is elsewhere
        return f'<a href="{name.removesuffix(".md") + ".html" if name else ""}{mark}{section}">{words}</a>'
    return words


def title(source: Path) -> str:
    """Return the heading of a page."""
    return source.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def sources() -> list[Path]:
    """Return the runbook's pages, the overview first."""
    return sorted(SOURCES.glob("*.md"), key=lambda path: (path.stem != "index", path.stem))


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check say which are not what they should be."""
    wanted = {PAGES / f"{source.stem}.html": page(source) for source in sources()}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    surplus = [path for path in PAGES.glob("*.html") if path not in wanted]
    if "--check" not in arguments:
        PAGES.mkdir(exist_ok=True)
        for path in stale:
            path.write_text(wanted[path], encoding="utf-8")
        for path in surplus:
            path.unlink()
    for path in (*stale, *surplus):
        sys.stdout.write(f"{path.name} {'is stale' if '--check' in arguments else 'written'}\n")
    return 1 if (stale or surplus) and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
