"""`offbeat grafana publish` on a server that speaks Grafana's HTTP API."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("grafana_client", reason="grafana-client is not installed (extra grafana)")

TOKEN = "glsa_editor"


class Grafana:
    """Keeps folders and dashboards as Grafana does (developers/http_api: folder, dashboard), for one token."""

    def __init__(self):
        self.folders, self.boards, self.refusal = {}, {}, None
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if owner.admits(self):
                    uid = self.path.removeprefix("/sub/api/folders/")
                    self.answer(
                        *((200, owner.folders[uid]) if uid in owner.folders else (404, {"message": "folder not found"}))
                    )

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if owner.admits(self):
                    self.answer(*owner.post(self.path.removeprefix("/sub/api"), body))

            def answer(self, status, body):
                text = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/sub"

    def admits(self, request):
        """Answer who may not come in."""
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            request.answer(401, {"message": "Invalid API key"})
        elif self.refusal is not None:
            request.answer(*self.refusal)
        else:
            return True
        return False

    def post(self, path, body):
        """Make a folder or a dashboard, or refuse as Grafana does."""
        if path == "/folders":
            self.folders[body["uid"]] = body
            return 200, body
        assert path == "/dashboards/db", path
        model, uid = body["dashboard"], body["dashboard"]["uid"]
        if body["folderUid"] not in self.folders:
            return 404, {"message": "folder not found"}
        if uid in self.boards and not body["overwrite"]:
            return 412, {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
        version = self.boards.get(uid, {"version": 0})["version"] + 1
        self.boards[uid] = {"version": version, "folder": body["folderUid"], "model": model}
        return 200, {"uid": uid, "url": f"/d/{uid}/x", "status": "success", "version": version}


@pytest.fixture
def grafana():
    """Give an empty Grafana."""
    server = Grafana()
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_dashboards_are_published_and_published_again(cli, grafana):
    """All four come into the folder, which is made once; the second time they are renewed."""
    for _ in range(2):
        done = cli("grafana", "publish", "--grafana-url", grafana.url, GRAFANA_TOKEN=TOKEN)
        assert done.returncode == 0, done.stderr
    assert [folder["title"] for folder in grafana.folders.values()] == ["Offbeat"]
    assert {uid: (board["version"], board["folder"]) for uid, board in grafana.boards.items()} == dict.fromkeys(
        ("offbeat-fleet", "offbeat-incidents", "offbeat-itself", "offbeat-job"), (2, "offbeat")
    )
    assert f"Offbeat / Fleet: {grafana.url}/d/offbeat-fleet/x" in done.stdout


def test_a_dry_run_speaks_to_nobody(cli, grafana):
    """It says what would be published."""
    done = cli("grafana", "publish", "--grafana-url", grafana.url, "--dry-run")
    assert (done.returncode, done.stdout.count("would publish")) == (0, 4)
    assert grafana.boards == grafana.folders == {}


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((403, {"message": "no"}), "may not edit"),
        ((500, {"message": "database is locked"}), "database is locked"),
        ((200, b"<html>"), "did not answer as a Grafana does"),
    ],
)
def test_a_refusal_is_one_line(cli, grafana, refusal, words):
    """What Grafana says is told in a line, exit code 3."""
    grafana.refusal = refusal
    done = cli("grafana", "publish", "--grafana-url", grafana.url, GRAFANA_TOKEN=TOKEN)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert words in done.stderr


def test_who_is_not_known_is_told_how_to_be(cli, grafana):
    """A wrong token, no server, and what is no address."""
    assert "GRAFANA_TOKEN" in cli("grafana", "publish", "--grafana-url", grafana.url).stderr
    gone = cli("grafana", "publish", "--grafana-url", "http://127.0.0.1:9")
    assert (gone.returncode, gone.stderr.count("\n")) == (3, 1)
    assert cli("grafana", "publish", "--grafana-url", "grafana").returncode == 64


def test_urllib3_is_still_urllib3():
    """The extra is installed without its urllib3 over the real one, which others in the environment need."""
    urllib3 = pytest.importorskip("urllib3")
    # urllib3-future numbers its releases 2.x.9nn.
    assert int(urllib3.__version__.split(".")[-1]) < 900
