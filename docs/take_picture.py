"""Take the README's picture of a running dashboard: `python docs/take_picture.py ADDRESS [CLASS]`.

ADDRESS is what `offbeat up` or `offbeat demo` prints; CLASS is the fault class to wait for (slow.compute). The picture
is taken a few seconds after it opened, so that the map shows it.
"""  # noqa: INP001 - a script, no part of a package

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parent / "assets/dashboard.png"
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
WAIT_MS = 300_000
SETTLE_MS = 4000


def main(address: str, fault: str = "slow.compute") -> None:
    """Write the picture."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, device_scale_factor=1.5, color_scheme="dark")
        page.goto(address)
        page.locator("#open .card", has_text=fault).wait_for(timeout=WAIT_MS)
        page.locator("#map[data-frame]").wait_for()
        page.wait_for_timeout(SETTLE_MS)
        page.screenshot(path=PICTURE, full_page=True)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
