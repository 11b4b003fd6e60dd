"""What the service writes down of itself."""

from prometheus_client.parser import text_string_to_metric_families

from offbeat.api.observer import Observer
from offbeat.store import UnavailableError


def scrape(client, name):
    """Return the value of a metric without labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return next(sample.value for family in families for sample in family.samples if sample.name == name)


def test_a_database_that_is_away_is_in_the_next_scrape(service, monkeypatch):
    """The scrape itself asks no database: it shows what was last seen, and that the store is down."""
    observer = Observer(service.store)
    observer.look()
    with service.client() as client:
        assert scrape(client, "offbeat_store_up") == 1
        assert scrape(client, "offbeat_store_disk_free_bytes") > 0
        assert scrape(client, "offbeat_store_unsealed_limit_bytes") > scrape(client, "offbeat_store_unsealed_bytes")

        def ping():
            raise UnavailableError("gone")

        monkeypatch.setattr(service.store, "ping", ping)
        observer.look()
        assert scrape(client, "offbeat_store_up") == 0
