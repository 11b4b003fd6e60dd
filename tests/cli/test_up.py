"""`offbeat up`: the embedded default."""

import json
import stat

import httpx2
import pytest
from command import Up
from support import wait_until

from offbeat.cli import main

API = "/api/v1"


@pytest.fixture
def started(tmp_path):
    """Give a function that starts services; all are ended."""
    made = []

    def start(*flags):
        made.append(Up(tmp_path / "data", *flags))
        return made[-1]

    yield start
    for service in made:
        if service.process.poll() is None:
            service.end()


def test_it_starts_lets_its_owner_in_and_ends_with_zero(started, tmp_path):
    """On an empty directory it serves, logs in by the printed address once, and ends in order on SIGTERM."""
    service = started()
    token = tmp_path / "data/admin-token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    page, _, code = service.login.partition("#login=")
    with httpx2.Client(base_url=service.url, trust_env=False) as browser:
        assert browser.get(f"{API}/jobs").status_code == 401
        assert browser.get(page).status_code == 200
        assert browser.post(f"{API}/session", json={"code": code}).json()["role"] == "admin"
        assert browser.get(f"{API}/jobs").json() == {"items": [], "next": None}
    with httpx2.Client(base_url=service.url, trust_env=False) as second:
        assert second.post(f"{API}/session", json={"code": code}).status_code == 401
    wait_until(lambda: httpx2.get(f"{service.url}/readyz", trust_env=False).status_code == 200)
    code, log = service.end()
    assert code == 0
    assert all(json.loads(line)["event"] for line in log.splitlines())


@pytest.mark.slow
def test_the_token_stays_over_restarts(started, tmp_path):
    """Whoever wrote a script with the token does not have to change it."""
    started().end()
    token = (tmp_path / "data/admin-token").read_text()
    started().end()
    assert (tmp_path / "data/admin-token").read_text() == token


def test_it_ends_while_somebody_listens(started):
    """An open event stream does not hold the end up."""
    service = started()
    token = (service.directory / "admin-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    with (
        httpx2.Client(base_url=service.url, headers=headers, trust_env=False) as client,
        client.stream("GET", f"{API}/incidents/stream") as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        service.process.terminate()
        list(lines)
    assert service.process.wait(15) == 0


@pytest.mark.slow
def test_it_listens_on_a_unix_socket_too(started, tmp_path, cli):
    """Agents without a route to the service use a socket file, also after a killed service left it behind."""
    path = tmp_path / "o.sock"
    service = started("--unix", str(path))
    service.process.kill()
    service.process.wait(10)
    assert path.exists()
    service = started("--unix", str(path))
    done = cli("status", OFFBEAT_URL=f"unix://{path}", OFFBEAT_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    assert "ready" in done.stdout
    service.end()
    assert not path.exists()


@pytest.mark.slow
def test_its_own_account_needs_no_token(started, tmp_path, cli):
    """Beside it an agent and the command line are let in by its data directory, whatever proxy others use."""
    service = started()
    settings = {
        "OFFBEAT_URL": service.url,
        "OFFBEAT_DATA_DIR": str(tmp_path / "data"),
        "OFFBEAT_SPOOL_DIR": str(tmp_path / "spool"),
        "OFFBEAT_RING_DIR": str(tmp_path / "rings"),
    }
    agent = cli.start("agent", "--host", "node7", **settings)
    try:
        wait_until(lambda: "node7" in cli("nodes", HTTP_PROXY="http://127.0.0.1:9", **settings).stdout, 60)
    finally:
        agent.terminate()
        agent.communicate(timeout=30)


def test_a_taken_port_is_one_line(started, cli, tmp_path):
    """A second service on the port says so, touches nothing, and ends with 3."""
    port = started().url.rpartition(":")[2]
    done = cli("up", "--port", port, "--data-dir", str(tmp_path / "other"))
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "in use" in done.stderr
    assert not (tmp_path / "other").exists()


def test_a_data_directory_that_cannot_be_made_is_one_line(cli, tmp_path):
    """A wrong --data-dir says which and why."""
    (tmp_path / "file").write_text("")
    done = cli("up", "--port", "0", "--data-dir", str(tmp_path / "file/data"))
    assert done.returncode == 3
    assert "Not a directory" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flags", [["--port", "99999"], ["--log-format", "poem"], ["--nonsense"]])
def test_wrong_flags_are_usage_errors(flags):
    """What cannot be a setting ends with 64 and names it."""
    assert main.run(["up", *flags]) == 64


def test_a_wrong_variable_is_named(cli):
    """A setting from the environment that does not fit is named with its variable."""
    done = cli("up", OFFBEAT_PORT="many")
    assert done.returncode == 64
    assert "OFFBEAT_PORT" in done.stderr


def test_a_database_that_is_away_is_one_line(cli, tmp_path):
    """Without its PostgreSQL the service does not start, and says why without the password."""
    done = cli(
        "up", "--port", "0", "--data-dir", str(tmp_path), "--database-url", "postgresql://u:secret@127.0.0.1:1/x"
    )
    assert done.returncode == 3
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr
