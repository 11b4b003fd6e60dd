"""A browser, and a service to look at."""

from pathlib import Path

import pytest
from mock_service import CODE, Job, MockService, now_ns

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser():
    """Return a Chromium, or skip where there is none."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def service():
    """Return a service with one healthy job of 8 ranks on 4 hosts, rank 5 late for 40 seconds."""
    mock = MockService()
    mock.add(Job("resnet", late={5: (109, now_ns() - 40 * 10**9)}))
    yield mock
    mock.close()


@pytest.fixture
def open_page(browser, service):
    """Return a function that opens the dashboard, logged in; afterwards no page may have complained."""
    contexts, complaints = [], []

    def open_page(*, url=None, code=CODE, refusals=False, **options):
        """Open a page; *refusals*: failed requests are expected."""
        options = {
            "viewport": {"width": 1280, "height": 900},
            "timezone_id": "Europe/Berlin",
            "locale": "en-GB",
        } | options
        context = browser.new_context(**options)
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(
            "window.violations = []; document.addEventListener('securitypolicyviolation',"
            " (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));"
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))

        def note(message):
            if message.type in {"error", "warning"} and not (refusals and "Failed to load resource" in message.text):
                complaints.append(message.text)

        page.on("console", note)
        service.codes.add(CODE)
        page.goto((url or service.url) + (f"#login={code}" if code else ""))
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            complaints += page.evaluate("window.violations")
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def modules(browser):
    """Return a page that nobody logged in to, for the scripts alone: `import('./js/….js')` works there."""
    mock = MockService()
    page = browser.new_page()
    page.goto(mock.url)
    page.get_by_label("Token").wait_for()
    yield page
    page.context.close()
    mock.close()
