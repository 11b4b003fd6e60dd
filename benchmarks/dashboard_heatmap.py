"""Time the lateness map in a real browser: how long loading, a first picture and each further frame take.

Usage: python benchmarks/dashboard_heatmap.py [RANKS [WINDOWS]] (default 16384 600)
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from mock_service import CODE, Job, MockService, now_ns  # the tests' stand-in for the service

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FRAMES = 30

WATCH = """window.frames_ms = []; new MutationObserver((changes) => {
  for (const {target} of changes) if (target.dataset.frame) window.frames_ms.push(Number(target.dataset.frame));
}).observe(document, {subtree: true, attributeFilter: ['data-frame']});"""
REDRAW = """(frames) => {
  const map = document.querySelector('#map'); const times = [];
  return new Promise((done) => {
    const step = () => {
      map.dataset.frame = ''; document.querySelector('#zoom-out').click();
      times.push(Number(map.dataset.frame));
      if (times.length < frames) requestAnimationFrame(step); else done(times);
    };
    step();
  });
}"""


def main() -> None:
    """Print the times."""
    ranks, windows = (int(text) for text in (sys.argv[1:] + ["16384", "600"][len(sys.argv) - 1 :])[:2])
    print(f"making {ranks} ranks x {windows} windows = {ranks * windows:,} values")
    service = MockService()
    job = service.add(
        Job("big", world=ranks, per_host=8, windows=windows, late={ranks // 3: (300, now_ns() - 60 * 10**9)})
    )
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.add_init_script(WATCH)
        began = time.perf_counter()
        page.goto(f"{service.url}#login={CODE}")
        page.locator("#map[data-frame]").wait_for(timeout=60_000)
        print(f"log-in to first picture: {time.perf_counter() - began:.2f} s")
        print(f"first frame (pools every value): {page.evaluate('window.frames_ms[0]')} ms")
        times = page.evaluate(REDRAW, FRAMES)
        print(f"frame: median {statistics.median(times):.1f} ms, worst of {FRAMES} {max(times):.1f} ms")
        job.late[7] = (900, 0)
        began = time.perf_counter()
        job.tick(now_ns() // 10**9 * 10**9 + 10**9)
        page.locator("#facts").get_by_text("most late now: rank 7").wait_for(timeout=60_000)
        print(f"a new window is on the page after {time.perf_counter() - began:.2f} s (read every 2 s)")
        browser.close()
    service.close()


if __name__ == "__main__":
    main()
