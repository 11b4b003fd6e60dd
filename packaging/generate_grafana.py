"""Write dashboards/grafana/: `python packaging/generate_grafana.py [--check]`.

Four Grafana dashboards: fleet, job and incidents read the tables in PostgreSQL, the fourth what Offbeat tells of itself
at /metrics. With --check nothing is written; the exit code is 1 when a file is not what this program makes.
"""  # noqa: INP001 - a script, no part of a package

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import grafana_queries as queries
from grafana_foundation_sdk.builders import barchart, dashboard, stat, table, timeseries
from grafana_foundation_sdk.builders import prometheus as prom
from grafana_foundation_sdk.cog import builder as cog
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, VariableRefresh

FOLDER = Path(__file__).parents[1] / "dashboards/grafana"
POSTGRES = DataSourceRef("grafana-postgresql-datasource", "${postgres}")
PROMETHEUS = DataSourceRef("prometheus", "${prometheus}")
WIDE, HALF, THIRD, SIXTH = 24, 12, 8, 4
PANELS = {"timeseries": timeseries.Panel, "stat": stat.Panel, "table": table.Panel, "barchart": barchart.Panel}


class Sql(variants.Dataquery):
    """A query of Grafana's PostgreSQL data source, which the SDK has no type for."""

    def __init__(self, sql: str, form: str, ref: str) -> None:
        """Ask *sql*; *form* is time_series or table."""
        self.sql, self.form, self.ref = " ".join(sql.split()), form, ref

    def to_json(self) -> dict[str, Any]:
        """Return the form that Grafana reads."""
        source = {"type": POSTGRES.type_val, "uid": POSTGRES.uid}
        return {
            "refId": self.ref,
            "datasource": source,
            "editorMode": "code",
            "format": self.form,
            "rawQuery": True,
            "rawSql": self.sql,
        }


class SqlBuilder(cog.Builder[variants.Dataquery]):
    """What the SDK's panels take."""

    def __init__(self, query: Sql) -> None:
        """Hold *query*."""
        self._query = query

    def build(self) -> variants.Dataquery:
        """Return it."""
        return self._query


def sql_panel(kind: str, title: str, query: str, *, width: int, unit: str = "short", height: int = 8) -> Any:
    """Return a panel of *kind* on a query of PostgreSQL."""
    form = "time_series" if kind == "timeseries" else "table"
    made = PANELS[kind]().title(title).datasource(POSTGRES).span(width).height(height).unit(unit)
    return made.with_target(SqlBuilder(Sql(query, form, "A")))


def prom_panel(kind: str, title: str, *expressions: tuple[str, str], width: int, unit: str = "short") -> Any:
    """Return a panel of *kind* on Prometheus; an expression comes with the name of its series."""
    made = PANELS[kind]().title(title).datasource(PROMETHEUS).span(width).height(4 if kind == "stat" else 8).unit(unit)
    for number, (expression, legend) in enumerate(expressions):
        query = prom.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
        made = made.with_target(query.instant() if kind == "stat" else query.range())
    return made


def board(uid: str, title: str, since: str, source: tuple[str, str], panels: list[Any]) -> dashboard.Dashboard:
    """Return a dashboard with a choice of its data source, named *source* and of that type."""
    made = (
        dashboard.Dashboard(f"Offbeat / {title}")
        .uid(f"offbeat-{uid}")
        .tags(["offbeat"])
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time(since, "now")
        .readonly()
        .with_variable(dashboard.DatasourceVariable(source[0]).label("Data source").type(source[1]))
    )
    for panel in panels:
        made = made.with_panel(panel)
    return made


def fleet() -> dict[str, Any]:
    """Return the dashboard of all jobs and hosts."""
    stats = [sql_panel("stat", title, query, width=SIXTH, height=4) for title, query in queries.FLEET_STATS]
    panels = [
        *stats,
        sql_panel("table", "Jobs", queries.JOBS, width=WIDE),
        sql_panel("timeseries", "Seconds an iteration, slowest", queries.BEAT_OF_ALL, width=HALF, unit="s"),
        sql_panel("barchart", "Incidents opened, by class", queries.OPENED_BY_CLASS, width=HALF),
        sql_panel("table", "Hosts that were not heard for a minute", queries.SILENT_HOSTS, width=HALF),
        sql_panel("table", "Hosts named most often", queries.NAMED_HOSTS, width=HALF),
    ]
    return encode(board("fleet", "Fleet", "now-6h", SQL_SOURCE, panels))


def job() -> dict[str, Any]:
    """Return the dashboard of one job, its incidents marked on every series."""
    panels = [
        *(
            sql_panel("stat", title, query, width=SIXTH, unit=unit, height=4)
            for title, query, unit in queries.JOB_STATS
        ),
        sql_panel("timeseries", "Seconds an iteration", queries.BEAT, width=WIDE, unit="s"),
        sql_panel("timeseries", "Iterations a minute", queries.PACE, width=HALF),
        sql_panel("timeseries", "Records kept a minute, by table", queries.RECORDS, width=HALF),
        sql_panel("table", "Incidents", queries.JOB_INCIDENTS, width=WIDE),
    ]
    made = board("job", "Job", "now-1h", SQL_SOURCE, panels).with_variable(
        dashboard.QueryVariable("job").label("Job").datasource(POSTGRES).query(queries.JOB_NAMES)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )  # fmt: skip
    encoded = encode(made)
    marks = Sql(queries.JOB_MARKS, "table", "Anno").to_json()
    encoded["annotations"] = {
        "list": [
            {
                "name": "Incidents",
                "enable": True,
                "iconColor": "orange",
                "datasource": marks["datasource"],
                "target": marks,
            }
        ]
    }
    return encoded


def incidents() -> dict[str, Any]:
    """Return the dashboard of what was found, how soon, and whether it was right."""
    panels = [
        *(
            sql_panel("stat", title, query, width=SIXTH, unit=unit, height=4)
            for title, query, unit in queries.INCIDENT_STATS
        ),
        sql_panel("table", "Open incidents", queries.OPEN_INCIDENTS, width=WIDE),
        sql_panel("barchart", "Opened a day, by severity", queries.OPENED_A_DAY, width=HALF),
        sql_panel("table", "How soon: from beginning to finding, by class", queries.HOW_SOON, width=HALF),
        sql_panel("table", "How right: what people said, by class", queries.ACCURACY, width=HALF),
        sql_panel("table", "Alerts that wait or were given up", queries.DELIVERIES, width=HALF),
    ]
    return encode(board("incidents", "Incidents", "now-30d", SQL_SOURCE, panels))


def itself() -> dict[str, Any]:
    """Return the dashboard of Offbeat itself."""
    panels = [
        *(prom_panel("stat", title, (query, ""), width=SIXTH, unit=unit) for title, query, unit in queries.SELF_STATS),
        *(
            prom_panel("timeseries", title, *expressions, width=HALF, unit=unit)
            for title, unit, expressions in queries.SELF_SERIES
        ),
    ]
    return encode(board("itself", "Offbeat itself", "now-6h", ("prometheus", "prometheus"), panels))


SQL_SOURCE = ("postgres", POSTGRES.type_val or "")
BOARDS = {"fleet": fleet, "job": job, "incidents": incidents, "itself": itself}


def encode(made: dashboard.Dashboard) -> dict[str, Any]:
    """Return the JSON model of a dashboard."""
    return dict(json.loads(json.dumps(made.build(), cls=JSONEncoder)))


def main(arguments: list[str]) -> int:
    """Write the files, or with --check say which are not what they should be."""
    stale = []
    for name, make in BOARDS.items():
        path, text = FOLDER / f"{name}.json", json.dumps(make(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    for name in stale:
        sys.stdout.write(f"dashboards/grafana/{name} {'is stale' if '--check' in arguments else 'written'}\n")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
