"""Changes written before they carried their incident's id."""

import json

import sqlalchemy as sa
from alembic import command

from offbeat.store import schema
from offbeat.store.engine import Database
from offbeat.store.incidents import IncidentStore


def test_older_changes_are_found_by_their_incident(empty_url):
    """The migration gives each change that is there the id that its body has."""
    database = Database(empty_url)
    config = schema.config()
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        insert = "INSERT INTO incident_events (seq, at, kind, incident) VALUES (:seq, 1, 'opened', :body)"
        body = sa.bindparam("body", type_=sa.JSON)
        for seq, id_ in ((1, "a"), (2, "b")):
            connection.execute(sa.text(insert).bindparams(body), {"seq": seq, "body": {"id": id_}})
    schema.upgrade(database)
    (event,) = IncidentStore(database).history("b")
    assert (event.seq, json.dumps(event.incident)) == (2, '{"id": "b"}')
    database.close()
