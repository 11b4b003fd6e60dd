"""Tokens."""

import stat

import pytest
import sqlalchemy as sa

from offbeat.store import NotFoundError, Principal, Role, StoreError
from offbeat.store.tables import Tokens
from offbeat.store.tokens import TokenStore, pepper


def test_a_token_speaks_for_its_principal(store):
    """The text shown once is what verifies; its id names it in lists and logs."""
    text, row = store.tokens.create(Role.AGENT, "node1", "first rack", who="ann")
    assert store.tokens.verify(text) == Principal(row.id, Role.AGENT, "node1")
    assert store.tokens.list() == (row,)
    assert text not in repr(store.tokens.list())
    assert store.audit.list().items[0].detail == {"token": row.id, "role": "agent", "host": "node1"}


def test_wrong_tokens_speak_for_nobody(store):
    """Neither a changed secret, nor another's id, nor any other text."""
    text, row = store.tokens.create(Role.ADMIN)
    other, _ = store.tokens.create(Role.VIEWER)
    last = "A" if text[-1] != "A" else "B"
    mixed = f"obt_{row.id}_{other.rpartition('_')[2]}"
    for wrong in (
        "",
        "obt",
        text[:-1],
        text + "A",
        text[:-1] + last,
        mixed,
        text.upper(),
        f" {text}",
        f"{text}\n",
        "x" * 9999,
    ):
        assert store.tokens.verify(wrong) is None


def test_a_revoked_token_is_worthless(store, clock):
    """At once, for good, and noted once."""
    text, row = store.tokens.create(Role.OPERATOR)
    store.tokens.revoke(row.id, who="ann")
    store.tokens.revoke(row.id, who="bob")
    assert store.tokens.verify(text) is None
    assert store.tokens.list()[0].revoked_at == clock.now
    assert [entry.who for entry in store.audit.list().items if entry.what == "token.revoke"] == ["ann"]
    with pytest.raises(NotFoundError):
        store.tokens.revoke("nothing")


@pytest.mark.parametrize(("role", "host"), [(Role.AGENT, None), (Role.AGENT, ""), (Role.ADMIN, "node1")])
def test_agents_and_only_agents_name_a_host(store, role, host):
    """A token for any host, or a host for a person, is refused."""
    with pytest.raises(ValueError, match="host"):
        store.tokens.create(role, host)


def test_only_a_keyed_hash_is_stored(store, database):
    """Without the pepper the database's hash verifies nothing."""
    text, _ = store.tokens.create(Role.ADMIN)
    with database.read() as connection:
        stored = connection.execute(sa.select(Tokens)).one()
    assert text.rpartition("_")[2] not in repr(stored)
    assert len(stored.hash) == 32
    assert TokenStore(database, b"another key" * 3).verify(text) is None


def test_the_pepper_is_made_once_and_private(tmp_path):
    """First use makes it, readable by the owner alone; later uses read it."""
    key = pepper(tmp_path / "pepper")
    assert len(key) == 32
    assert pepper(tmp_path / "pepper") == key
    assert [path.name for path in tmp_path.iterdir()] == ["pepper"]
    assert stat.S_IMODE((tmp_path / "pepper").stat().st_mode) == 0o600


def test_a_pepper_that_others_can_read_is_refused(tmp_path):
    """A key that may be known is no key, nor is a short one."""
    pepper(tmp_path / "pepper")
    (tmp_path / "pepper").chmod(0o640)
    with pytest.raises(StoreError, match="chmod 600"):
        pepper(tmp_path / "pepper")
    (tmp_path / "short").touch(0o600)
    with pytest.raises(StoreError, match="no key"):
        pepper(tmp_path / "short")
