"""/jobs/{id}/delays and /communicators."""

from batches import send
from findings import SECOND, put_job

from offbeat import records

T0 = 1_800_000_000 * SECOND
JOB = "/api/v1/jobs/train"


def edges():
    """Return a minute and a half of one connection from node0 to node1 whose round trip grew 12 s before the end."""
    rows = [
        (T0 + n * SECOND, metric, float(value))
        for n in range(90)
        for metric, value in (("rtt_us", 50_000 if n >= 74 else 1_000), ("bytes_acked", 10**8 * n))
    ]
    columns = {
        "job": ["train"] * len(rows),
        "attempt": [0] * len(rows),
        "at": [row[0] for row in rows],
        "src_host": ["node0"] * len(rows),
        "src_rank": [0] * len(rows),
        "src_addr": ["10.0.0.1:1"] * len(rows),
        "dst_addr": ["10.0.0.2:9"] * len(rows),
        "kind": ["tcp"] * len(rows),
        "metric": [row[1] for row in rows],
        "value": [row[2] for row in rows],
    }
    return records.build("edges", columns)


def test_the_delay_matrix_names_hosts_by_what_agents_say(service, viewer):
    """Addresses become hosts by the agents' own word; what is now is told beside what was usual."""
    put_job(service.store, now=T0 + 89 * SECOND)
    for host, address in (("node0", "10.0.0.1"), ("node1", "10.0.0.2")):
        service.store.nodes.seen(host, T0, 1, [address], [0], job="train")
    send(service.store.telemetry, 1, {"edges": edges()})
    found = viewer.get(f"{JOB}/delays").json()
    (path,) = found["paths"]
    assert (path["src_host"], path["dst_host"]) == ("node0", "node1")
    assert (path["rtt_us"], path["usual_rtt_us"]) == (50_000, 1_000)
    assert (found["hosts"], found["until"] - found["now_since"]) == (["node0", "node1"], 15 * SECOND)


def test_a_job_without_readings_has_an_empty_matrix(service, viewer):
    """Nothing was measured, which is no error; a job that is not there is."""
    put_job(service.store, now=T0)
    assert viewer.get(f"{JOB}/delays").json()["paths"] == []
    assert viewer.get(f"{JOB}/communicators").json()["items"] == []
    for what in ("delays", "communicators"):
        assert viewer.get(f"/api/v1/jobs/none/{what}").status_code == 404


def test_communicators_come_with_their_ranks(service, viewer):
    """Each once, with its name and all who joined, the largest first; those of an earlier attempt are gone."""
    put_job(service.store, now=T0)
    members = [("c0", "dp", rank, 4, 0) for rank in (2, 0, 1, 3)]
    members += [("c1", None, rank, 2, 0) for rank in (0, 1)] + [("old", None, 0, 9, 5)]
    columns = {
        "job": ["train"] * len(members),
        "attempt": [each[4] for each in members],
        "comm": [each[0] for each in members],
        "comm_rank": [each[2] for each in members],
        "n_ranks": [each[3] for each in members],
        "rank": [each[2] for each in members],
        "host": ["node0"] * len(members),
        "pid": [1] * len(members),
        "name": [each[1] for each in members],
    }
    send(service.store.telemetry, 1, {"memberships": records.build("memberships", columns)})
    assert viewer.get(f"{JOB}/communicators").json()["items"] == [
        {"comm": "c0", "name": "dp", "n_ranks": 4, "ranks": [0, 1, 2, 3]},
        {"comm": "c1", "name": None, "n_ranks": 2, "ranks": [0, 1]},
    ]
