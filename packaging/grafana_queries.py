"""What the Grafana dashboards ask: SQL for the tables in `store/tables.py`, PromQL for `src/offbeat/metrics.csv`.

Times in the tables are Unix nanoseconds. `$__unixEpochNano…` and `$__interval_ms` are Grafana's; `${job:sqlstring}` is
the job that was chosen, as a quoted literal.
"""  # noqa: INP001 - beside a script, no part of a package
# ruff: noqa: S608 - every query is put together from constants of this file

NOW = "(extract(epoch from now()) * 1000000000)::bigint"
OVER = "('resolved', 'recovered')"


def _stamp(column: str) -> str:
    return f"to_timestamp({column} / 1e9)"


def _bucket(column: str) -> str:
    return f"to_timestamp(floor({column} / 1e6 / $__interval_ms) * $__interval_ms / 1000)"


def _culprits(column: str = "finding") -> str:
    return (
        f"concat_ws(', ', nullif('ranks ' || translate(({column}->'culprits'->'ranks')::text, '[]', ''), 'ranks '), "
        f"nullif('hosts ' || translate(({column}->'culprits'->'hosts')::text, '[]\"', ''), 'hosts '))"
    )


JOB_NAMES = "SELECT id FROM jobs WHERE last_seen >= $__unixEpochNanoFrom() ORDER BY last_seen DESC"

FLEET_STATS = (
    ("Jobs that run", "SELECT count(*) FROM jobs WHERE state <> 'ended'"),
    ("Ranks", "SELECT coalesce(sum(world), 0)::bigint FROM jobs WHERE state <> 'ended'"),
    ("Hosts heard in the last minute", f"SELECT count(*) FROM nodes WHERE last_seen > {NOW} - 60000000000"),
    ("Stalled jobs", "SELECT count(*) FROM jobs WHERE state = 'stalled'"),
    ("Open, critical", f"SELECT count(*) FROM incidents WHERE state NOT IN {OVER} AND severity = 'critical'"),
    ("Open, warning", f"SELECT count(*) FROM incidents WHERE state NOT IN {OVER} AND severity = 'warning'"),
)

JOBS = f"""
SELECT j.id AS "job", j.state, j.world AS "ranks", jsonb_array_length(j.hosts) AS "hosts",
  j.iteration_ns / 1e9 AS "seconds an iteration",
  {_stamp("j.first_seen")} AS "first seen", {_stamp("j.last_seen")} AS "last seen",
  (SELECT count(*) FROM incidents i WHERE i.job = j.id AND i.state NOT IN {OVER}) AS "open incidents"
FROM jobs j WHERE j.last_seen >= $__unixEpochNanoFrom() ORDER BY 8 DESC, j.last_seen DESC
"""

BEAT_OF_ALL = f"""
SELECT {_bucket("at")} AS "time", job AS "metric", max(iteration_ns) / 1e9 AS "seconds"
FROM beats WHERE $__unixEpochNanoFilter(at) GROUP BY 1, 2 ORDER BY 1
"""

OPENED_BY_CLASS = """
SELECT fault AS "class", count(*) AS "incidents" FROM incidents WHERE $__unixEpochNanoFilter(opened_at)
GROUP BY 1 ORDER BY 2 DESC LIMIT 15
"""

SILENT_HOSTS = f"""
SELECT host, {_stamp("last_seen")} AS "last heard" FROM nodes
WHERE last_seen BETWEEN $__unixEpochNanoFrom() AND {NOW} - 60000000000 ORDER BY last_seen DESC LIMIT 100
"""

NAMED_HOSTS = f"""
SELECT named.host, count(*) AS "incidents", count(DISTINCT i.job) AS "jobs", max({_stamp("i.opened_at")}) AS "last"
FROM incidents i, jsonb_array_elements_text(i.finding->'culprits'->'hosts') AS named(host)
WHERE $__unixEpochNanoFilter(i.opened_at) GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20
"""

JOB = "${job:sqlstring}"

JOB_STATS = (
    ("State", f"SELECT state FROM jobs WHERE id = {JOB}", "string"),
    ("Ranks", f"SELECT world FROM jobs WHERE id = {JOB}", "short"),
    ("Iteration", f"SELECT iteration_ns / 1e9 FROM jobs WHERE id = {JOB}", "s"),
    (
        "Slowest in view",
        f"SELECT max(iteration_ns) / 1e9 FROM beats WHERE job = {JOB} AND $__unixEpochNanoFilter(at)",
        "s",
    ),
    ("Attempt", f"SELECT attempt::text FROM jobs WHERE id = {JOB}", "string"),
    ("Open incidents", f"SELECT count(*) FROM incidents WHERE job = {JOB} AND state NOT IN {OVER}", "short"),
)

BEAT = f"""
SELECT {_bucket("at")} AS "time", max(iteration_ns) / 1e9 AS "slowest",
  percentile_cont(0.5) WITHIN GROUP (ORDER BY iteration_ns) / 1e9 AS "median"
FROM beats WHERE job = {JOB} AND $__unixEpochNanoFilter(at) GROUP BY 1 ORDER BY 1
"""

PACE = f"""
SELECT {_bucket("at")} AS "time", count(*) * 60000.0 / $__interval_ms AS "iterations a minute"
FROM beats WHERE job = {JOB} AND $__unixEpochNanoFilter(at) GROUP BY 1 ORDER BY 1
"""

RECORDS = f"""
SELECT {_bucket("received_at")} AS "time", record AS "metric", sum(rows) * 60000.0 / $__interval_ms AS "rows"
FROM segments WHERE job = {JOB} AND $__unixEpochNanoFilter(received_at) GROUP BY 1, 2 ORDER BY 1
"""

JOB_INCIDENTS = f"""
SELECT {_stamp("opened_at")} AS "opened", {_stamp("ended_at")} AS "ended", fault AS "class", severity, state,
  {_culprits()} AS "culprits", finding->>'summary' AS "summary", id
FROM incidents WHERE job = {JOB} AND $__unixEpochNanoFilter(opened_at) ORDER BY opened_at DESC LIMIT 200
"""

JOB_MARKS = f"""
SELECT {_stamp("opened_at")} AS "time", {_stamp(f"coalesce(ended_at, {NOW})")} AS "timeend",
  finding->>'summary' AS "text", fault AS "tags"
FROM incidents WHERE job = {JOB} AND $__unixEpochNanoFilter(opened_at) ORDER BY opened_at DESC LIMIT 200
"""

_JUDGED = '(SELECT DISTINCT ON (incident_id) incident_id, "right" FROM feedbacks ORDER BY incident_id, id DESC)'

INCIDENT_STATS = (
    ("Open", f"SELECT count(*) FROM incidents WHERE state NOT IN {OVER}", "short"),
    ("Nobody is on it", "SELECT count(*) FROM incidents WHERE state = 'open'", "short"),
    (
        "From beginning to finding, median",
        (
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY detected_at - (finding->>'started_at')::bigint) / 1e9 "
            "FROM incidents WHERE $__unixEpochNanoFilter(opened_at)"
        ),
        "s",
    ),
    (
        "From opening to somebody, median",
        (
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY acknowledged_at - opened_at) / 1e9 "
            "FROM incidents WHERE $__unixEpochNanoFilter(opened_at)"
        ),
        "s",
    ),
    (
        "From opening to end, median",
        (
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ended_at - opened_at) / 1e9 "
            "FROM incidents WHERE $__unixEpochNanoFilter(opened_at)"
        ),
        "s",
    ),
    (
        "Called right",
        (
            f'SELECT avg(j."right"::int) FROM {_JUDGED} j JOIN incidents i ON i.id = j.incident_id '
            "WHERE $__unixEpochNanoFilter(i.opened_at)"
        ),
        "percentunit",
    ),
)

OPEN_INCIDENTS = f"""
SELECT {_stamp("opened_at")} AS "opened", severity, fault AS "class", job, {_culprits()} AS "culprits", state,
  finding->>'summary' AS "summary", finding->'advice'->>'action' AS "advice", id
FROM incidents WHERE state NOT IN {OVER}
ORDER BY array_position(ARRAY['critical', 'warning', 'info'], severity::text), opened_at DESC LIMIT 200
"""

OPENED_A_DAY = f"""
SELECT to_char({_stamp("opened_at")}, 'MM-DD') AS "day", count(*) FILTER (WHERE severity = 'critical') AS "critical",
  count(*) FILTER (WHERE severity = 'warning') AS "warning", count(*) FILTER (WHERE severity = 'info') AS "info"
FROM incidents WHERE $__unixEpochNanoFilter(opened_at) GROUP BY 1 ORDER BY min(opened_at)
"""

HOW_SOON = """
SELECT fault AS "class", count(*) AS "incidents",
  percentile_cont(0.5) WITHIN GROUP (ORDER BY detected_at - (finding->>'started_at')::bigint) / 1e9 AS "median, s",
  max(detected_at - (finding->>'started_at')::bigint) / 1e9 AS "longest, s"
FROM incidents
WHERE $__unixEpochNanoFilter(opened_at) AND detected_at IS NOT NULL AND finding->>'started_at' IS NOT NULL
GROUP BY 1 ORDER BY 2 DESC
"""

ACCURACY = f"""
SELECT i.fault AS "class", count(*) FILTER (WHERE j."right") AS "right",
  count(*) FILTER (WHERE NOT j."right") AS "wrong", avg(j."right"::int) AS "share right"
FROM {_JUDGED} j JOIN incidents i ON i.id = j.incident_id
WHERE $__unixEpochNanoFilter(i.opened_at) GROUP BY 1 ORDER BY 1
"""

DELIVERIES = f"""
SELECT {_stamp("d.created_at")} AS "since", w.kind AS "to", d.kind AS "of", d.state, d.tries, d.error,
  d.incident_id AS "incident"
FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id WHERE d.state <> 'sent'
ORDER BY d.created_at DESC LIMIT 100
"""

SELF_STATS = (
    ("Database", "min(offbeat_store_up)", "bool_on_off"),
    ("Redis", "max(offbeat_bus_up)", "bool_on_off"),
    ("Findings come late by", "max(offbeat_analyzer_delay_seconds)", "s"),
    ("Room for segments", "min(offbeat_store_disk_free_bytes)", "bytes"),
    ("Alerts that wait", "max(offbeat_webhook_pending)", "short"),
    ("Shards without worker", "max(offbeat_shards_unheld)", "short"),
)

SELF_SERIES = (
    (
        "Batches a second, by outcome",
        "reqps",
        (("sum by (outcome) (rate(offbeat_telemetry_batches_total[$__rate_interval]))", "{{outcome}}"),),
    ),
    (
        "Rows a second, by table",
        "short",
        (("sum by (table) (rate(offbeat_telemetry_rows_total[$__rate_interval]))", "{{table}}"),),
    ),
    (
        "Waiting to be written, share of the limit",
        "percentunit",
        (("max by (instance) (offbeat_store_unsealed_bytes / offbeat_store_unsealed_limit_bytes)", "{{instance}}"),),
    ),
    (
        "Analyzer",
        "s",
        (
            ("max by (instance) (offbeat_analyzer_delay_seconds)", "delay {{instance}}"),
            (
                "time() - max by (instance) (offbeat_analyzer_looked_at_seconds > 0)",
                "since the rules last ran {{instance}}",
            ),
        ),
    ),
    (
        "Requests a second, by status",
        "reqps",
        (("sum by (status) (rate(offbeat_api_requests_total[$__rate_interval]))", "{{status}}"),),
    ),
    (
        "Time of a request, 99th percentile",
        "s",
        (
            (
                (
                    "histogram_quantile(0.99, sum by (le, route) "
                    "(rate(offbeat_api_request_duration_seconds_bucket[$__rate_interval])))"
                ),
                "{{route}}",
            ),
        ),
    ),
    (
        "Failures",
        "short",
        (
            ("sum(increase(offbeat_analyzer_failures_total[$__rate_interval]))", "analyzer"),
            ("sum(increase(offbeat_api_errors_total[$__rate_interval]))", "API"),
            ("sum(increase(offbeat_store_seal_failures_total[$__rate_interval]))", "segments"),
            ("sum(increase(offbeat_bus_dropped_total[$__rate_interval]))", "bus"),
        ),
    ),
    (
        "Alerts, by outcome",
        "short",
        (
            (
                "sum by (kind, outcome) (increase(offbeat_webhook_deliveries_total[$__rate_interval]))",
                "{{kind}} {{outcome}}",
            ),
        ),
    ),
)
