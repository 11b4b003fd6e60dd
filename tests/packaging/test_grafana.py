"""The Grafana dashboards: written by their program, every query of them run on a real PostgreSQL."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from findings import SECOND, finding, put_job

from offbeat import dashboards, metrics
from offbeat.settings import ServiceSettings
from offbeat.store import open_store, schema
from offbeat.store.engine import Database

ROOT = Path(__file__).parents[2]
BOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(dashboards.GRAFANA.glob("*.json"))}


def queries(key):
    """Return (board, panel, query) for all targets that have *key*."""
    found = []
    for name, board in BOARDS.items():
        found += [
            (name, panel["title"], target[key])
            for panel in board["panels"]
            for target in panel["targets"]
            if key in target
        ]
        marks = board["annotations"].get("list", [])
        found += [(name, "annotations", each["target"][key]) for each in marks if key in each["target"]]
        found += [
            (name, f"variable {each['name']}", each["query"])
            for each in board["templating"]["list"]
            if each["type"] == "query" and key == "rawSql"
        ]
    return found


SQL = queries("rawSql")
PROMQL = queries("expr")


def test_the_files_are_what_the_program_writes():
    """Nobody edited a dashboard by hand."""
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk is not installed (extra test)")
    done = subprocess.run(
        [sys.executable, ROOT / "packaging/generate_grafana.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nrun: python packaging/generate_grafana.py"


def test_boards_can_live_in_one_grafana():
    """Four dashboards, each with a name of its own, a chosen data source, panels in the grid, and no fixed one."""
    assert len(BOARDS) == 4
    assert len({board["uid"] for board in BOARDS.values()}) == 4
    for board in BOARDS.values():
        assert re.fullmatch(r"[a-z-]{1,40}", board["uid"])
        assert board["title"].startswith("Offbeat / ")
        (source, *_) = board["templating"]["list"]
        assert source["type"] == "datasource"
        for panel in board["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            for target in panel["targets"]:
                assert (target.get("datasource") or panel["datasource"])["uid"] == f"${{{source['name']}}}"


def test_promql_names_only_metrics_and_labels_that_exist():
    """A panel about a metric that nobody writes stays empty for ever."""
    assert len(PROMQL) > 10
    for board, panel, expression in PROMQL:
        for name in re.findall(r"offbeat_[a-z_]+", expression):
            metric = metrics.TABLE.get(re.sub(r"_(bucket|sum|count)$", "", name))
            assert metric is not None, (board, panel, name)
            for labels in re.findall(r"by \(([a-z, ]+)\)", expression):
                assert set(labels.split(", ")) <= {*metric.labels, "instance", "le"}, (board, panel)


@pytest.fixture(scope="module")
def filled(postgresql_url, tmp_path_factory):
    """Give a connection, as the documented reader, to a PostgreSQL that a service wrote a job and incidents to."""
    name = f"test_{uuid4().hex}"
    server = Database(postgresql_url)
    with server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    server.close()
    url = sa.make_url(postgresql_url).set(database=name).render_as_string(hide_password=False)
    database = Database(url)
    schema.upgrade(database)
    database.close()
    now = time.time_ns()
    settings = ServiceSettings(data_dir=tmp_path_factory.mktemp("grafana"), database_url=url)
    with open_store(settings) as store:
        put_job(store, now=now)
        for host, seen in (("node0", now), ("node1", now - 300 * SECOND)):
            store.nodes.seen(host, seen, 1, ["10.0.0.1"], [0], job="train")
        store.webhooks.add("http://127.0.0.1:9/", "slack", who="test")
        opened = store.incidents.apply(finding(at=now), now)
        store.incidents.acknowledge(opened.id, "ann")
        store.incidents.feedback(opened.id, True, "", "ann")
        ended = store.incidents.apply(finding("other", at=now - SECOND), now - SECOND)
        store.incidents.resolve(ended.id, "ann", "fan")
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        grants = re.search(r"```sql\n(.*?)```", (ROOT / "docs/operations.md").read_text(encoding="utf-8"), re.DOTALL)[1]
        connection.execute(sa.text(grants.replace(" grafana", f" {name}")))
        connection.execute(sa.text(f"SET ROLE {name}"))
        yield connection, now
    engine.dispose()


def test_the_reader_of_the_documentation_reads_no_secrets(filled):
    """The user that the documentation makes for Grafana may not read tokens, nor the secrets of webhooks."""
    connection, _ = filled
    for query in ("SELECT hash FROM tokens", "SELECT secret FROM webhooks", "SELECT body FROM idempotency"):
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"), connection.begin_nested():
            connection.execute(sa.text(query))


def expand(query, now):
    """Return *query* as Grafana sends it: its macros and variables replaced."""
    since, until = now - 3600 * SECOND, now + 3600 * SECOND
    query = re.sub(r"\$__unixEpochNanoFilter\(([\w.]+)\)", rf"\1 >= {since} AND \1 <= {until}", query)
    query = query.replace("$__unixEpochNanoFrom()", str(since)).replace("$__unixEpochNanoTo()", str(until))
    query = query.replace("$__interval_ms", "60000").replace("${job:sqlstring}", "'train'")
    assert "$" not in query
    return query


EMPTY = {"Records kept a minute, by table", "Stalled jobs", "Open, critical", "Nobody is on it"}
"""What this store has none of; any other query that finds nothing asks the wrong thing."""


@pytest.mark.parametrize(("board", "panel", "query"), SQL, ids=[f"{board}: {panel}" for board, panel, _ in SQL])
def test_every_query_runs_and_finds_what_is_there(filled, board, panel, query):
    """PostgreSQL takes it, and it finds the rows that the service wrote."""
    connection, now = filled
    rows = connection.execute(sa.text(expand(query, now).replace("::", "\\:\\:"))).mappings().all()
    assert panel in EMPTY or any(value not in {None, 0} for row in rows for value in row.values()), rows


def test_what_the_panels_say_is_true(filled):
    """Counts and names are those of the store: two jobs' worth of facts, checked by hand."""
    connection, now = filled
    told = {}
    for board, panel, query in SQL:
        rows = connection.execute(sa.text(expand(query, now).replace("::", "\\:\\:"))).mappings().all()
        told[board, panel] = [dict(row) for row in rows]
    assert told["fleet", "Ranks"][0].popitem()[1] == 8
    assert told["fleet", "Hosts heard in the last minute"][0].popitem()[1] == 1
    assert [row["host"] for row in told["fleet", "Hosts that were not heard for a minute"]] == ["node1"]
    (only,) = told["incidents", "Open incidents"]
    assert (only["culprits"], only["state"]) == ("ranks 5, hosts node1", "acknowledged")
    assert told["incidents", "How right: what people said, by class"][0]["share right"] == 1
    assert told["incidents", "How soon: from beginning to finding, by class"][0]["median, s"] == 8
    assert told["job", "Open incidents"][0].popitem()[1] == 1
    assert len(told["incidents", "Alerts that wait or were given up"]) >= 2
