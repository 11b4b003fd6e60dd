"""Opening and closing the store."""

import stat

import pytest
from batches import gauges, send, values

from offbeat.settings import ServiceSettings
from offbeat.store import Beat, Role, SchemaError, StoreError, open_store, schema
from offbeat.store.engine import Database


def test_the_embedded_store_opens_on_an_empty_directory_and_again(tmp_path):
    """Nothing has to be prepared, and everything is there the next time; nobody else can look in."""
    settings = ServiceSettings(data_dir=tmp_path / "data")
    with open_store(settings) as store:
        store.ping()
        text, _ = store.tokens.create(Role.VIEWER)
        send(store.telemetry, 1, gauges([1]))
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    with open_store(settings) as store:
        assert store.tokens.verify(text).role is Role.VIEWER
        assert values(store.telemetry.read("gauges")) == [1]


def test_a_second_process_may_open_the_store_beside_the_service(tmp_path):
    """What administers (tokens, webhooks) needs no stopped service, and sees and is seen at once."""
    settings = ServiceSettings(data_dir=tmp_path / "data")
    with open_store(settings) as service, open_store(settings) as other:
        text, _ = other.tokens.create(Role.ADMIN)
        assert service.tokens.verify(text) is not None
        send(service.telemetry, 1, gauges([1]))
    with open_store(settings) as store:
        assert values(store.telemetry.read("gauges")) == [1]


def test_another_database_must_be_upgraded_by_hand(empty_url, tmp_path):
    """PostgreSQL is shared: only `offbeat db upgrade` changes its schema."""
    if empty_url.startswith("sqlite"):
        pytest.skip("the embedded database upgrades itself")
    settings = ServiceSettings(data_dir=tmp_path / "data", database_url=empty_url)
    with pytest.raises(SchemaError, match="offbeat db upgrade"):
        open_store(settings)
    database = Database(empty_url)
    schema.upgrade(database)
    database.close()
    with open_store(settings) as store:
        store.ping()


def test_replicas_share_the_pepper_of_their_settings(tmp_path):
    """With a pepper in the settings no file is made, and a token holds on every replica."""
    settings = ServiceSettings(data_dir=tmp_path / "data", token_pepper="x" * 32)
    with open_store(settings) as store:
        text, _ = store.tokens.create(Role.VIEWER)
    assert not (tmp_path / "data" / "pepper").exists()
    (tmp_path / "other").mkdir()
    other = ServiceSettings(
        data_dir=tmp_path / "other", database_url=f"sqlite:///{tmp_path}/data/offbeat.db", token_pepper="x" * 32
    )
    with open_store(other) as store:
        assert store.tokens.verify(text) is not None


def test_a_damaged_database_is_named(tmp_path):
    """A file that is no database is an error with a reason, and stays as it is."""
    (tmp_path / "offbeat.db").write_bytes(b"precious" * 1000)
    with pytest.raises(StoreError, match="database"):
        open_store(ServiceSettings(data_dir=tmp_path))
    assert (tmp_path / "offbeat.db").read_bytes() == b"precious" * 1000


def test_what_is_old_expires_by_the_settings(tmp_path):
    """Raw records go after hours, series after days."""
    settings = ServiceSettings(data_dir=tmp_path, segment_hours=1, history_days=1)
    hour = 3_600_000_000_000
    with open_store(settings) as store:
        send(store.telemetry, 1, gauges([1]))
        store.telemetry.seal()
        received = store.nodes._clock()
        store.jobs.add_beats("train", 1, [Beat(received, 5)])
        assert store.expire(received) == 0
        assert store.expire(received + 2 * hour) == 1
        assert store.jobs.beats("train") == (Beat(received, 5),)
        store.expire(received + 25 * hour)
        assert store.jobs.beats("train") == ()
