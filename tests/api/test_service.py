"""What runs beside the web server."""

import pytest
from support import wait_until

from offbeat.api import duties, service, setup_token
from offbeat.settings import ServiceSettings
from offbeat.store import Role, UnavailableError, open_store


def test_a_failed_clean_up_is_tried_again():
    """A database that is away for a moment does not end retention for good."""
    calls = []

    class Store:
        def expire(self, now):
            calls.append(now)
            if len(calls) == 1:
                raise UnavailableError("away")
            return 0

    store = Store()
    with duties.Every(0.01, lambda: duties.expire(store), "retention"):
        wait_until(lambda: len(calls) >= 3)


@pytest.fixture
def store(tmp_path):
    """Give an empty store."""
    with open_store(ServiceSettings(data_dir=tmp_path)) as made:
        yield made


def test_the_first_administrator_is_made_once(store, tmp_path):
    """The token in the file works, and stays while it does."""
    path = tmp_path / "admin-token"
    admin = setup_token.ensure_admin(store, path)
    text = path.read_text().strip()
    assert store.tokens.verify(text) == admin
    assert setup_token.ensure_admin(store, path) == admin
    assert path.read_text().strip() == text


@pytest.mark.parametrize("spoil", ["revoke", "viewer", "garbage"])
def test_a_token_that_lets_nobody_in_is_replaced(store, tmp_path, spoil):
    """Revoked, too weak or unreadable: a new one takes its place, so that the owner is never locked out."""
    path = tmp_path / "admin-token"
    admin = setup_token.ensure_admin(store, path)
    if spoil == "revoke":
        store.tokens.revoke(admin.id)
    else:
        path.write_text(
            store.tokens.create(Role.VIEWER)[0] if spoil == "viewer" else "\xff garbage", encoding="latin-1"
        )
    again = setup_token.ensure_admin(store, path)
    assert again.role is Role.ADMIN
    assert store.tokens.verify(path.read_text().strip()) == again


@pytest.mark.parametrize(
    ("local", "listen", "url"),
    [
        ("http://127.0.0.1:8844", "127.0.0.1", "http://127.0.0.1:8844"),
        ("http://10.0.0.5:8844", "10.0.0.5", "http://10.0.0.5:8844"),
        ("http://127.0.0.1:8844", "0.0.0.0", "http://hostname:8844"),
    ],
)
def test_links_lead_to_a_name_others_know(monkeypatch, local, listen, url):
    """Who listens on every address is linked by the machine's name."""
    monkeypatch.setattr("socket.gethostname", lambda: "hostname")
    assert service._from_afar(local, listen) == url
