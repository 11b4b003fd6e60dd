"""/jobs: lists, beat, and the three forms of ranks by time."""

import json
import struct
import time

import numpy as np
import pyarrow as pa
import pytest
from findings import SECOND, finding, put_job
from hypothesis import given
from hypothesis import strategies as st

from offbeat.api import series

API = "/api/v1/jobs"


def test_jobs_are_listed_with_what_is_open(service, viewer):
    """A job shows its state, its size, its iteration and how many incidents are open."""
    put_job(service.store)
    service.store.incidents.apply(finding(), time.time_ns())
    (job,) = viewer.get(API).json()["items"]
    assert (job["id"], job["state"], job["world"], job["open_incidents"]) == ("train", "running", 8, 1)
    assert job["iteration_seconds"] == pytest.approx(0.187)
    assert job["hosts"] == ["node0", "node1"]
    detail = viewer.get(f"{API}/train").json()
    assert detail["ranks"][5] == {"rank": 5, "host": "node1", "pid": 1005, "gpu": None}


def test_lists_come_in_pages(service, viewer):
    """Each job is on exactly one page; the last page has no next."""
    now = time.time_ns()
    for n in range(7):
        put_job(service.store, f"job{n}", now=now - n * SECOND, windows=1)
    seen, cursor = [], None
    while True:
        page = viewer.get(API, params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [job["id"] for job in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [f"job{n}" for n in range(7)]


def test_names_from_elsewhere_are_only_names(service, viewer):
    """A job may be called whatever fits a URL, and comes back under that name."""
    put_job(service.store, "a/b?c#d <script>", windows=1)
    (job,) = viewer.get(API).json()["items"]
    assert job["id"] == "a/b?c#d <script>"


def test_the_beat_is_a_series(service, viewer):
    """Iterations come oldest first, within the stretch that was asked for."""
    now = put_job(service.store).last_seen
    items = viewer.get(f"{API}/train/beat").json()["items"]
    assert len(items) == 20
    assert items == sorted(items, key=lambda item: item["at"])
    assert items[-1] == {"at": now, "iteration_seconds": 0.187}
    params = {"since": now - 5 * SECOND, "until": now}
    assert len(viewer.get(f"{API}/train/beat", params=params).json()["items"]) == 5


def test_lateness_says_the_same_in_every_form(service, viewer):
    """JSON, octets and Arrow hold the same matrix; JSON is what a client gets that asks for nothing."""
    put_job(service.store, windows=4)
    path = f"{API}/train/lateness"
    plain = viewer.get(path, headers={"Accept": "*/*"}).json()
    assert plain["ranks"] == list(range(8))
    assert [row[0] for row in plain["lateness_ms"]] == [None] * 4
    assert plain["lateness_ms"][0][1:] == [1, 2, 3, 4, 5, 6, 7]

    octets = viewer.get(path, headers={"Accept": series.OCTETS}).content
    n_times, n_ranks = struct.unpack_from("<II", octets)
    times = np.frombuffer(octets, "<i8", n_times, 8)
    ranks = np.frombuffer(octets, "<i4", n_ranks, 8 + 8 * n_times)
    values = np.frombuffer(octets, "<f4", n_times * n_ranks, 8 + 8 * n_times + 4 * n_ranks).reshape(n_times, n_ranks)
    assert (times.tolist(), ranks.tolist()) == (plain["times"], plain["ranks"])
    assert np.isnan(values[:, 0]).all()
    assert values[:, 1:].tolist() == [row[1:] for row in plain["lateness_ms"]]

    table = pa.ipc.open_stream(viewer.get(path, headers={"Accept": series.ARROW}).content).read_all()
    assert table.column("at").to_pylist() == plain["times"]
    assert json.loads(table.schema.metadata[b"ranks"]) == plain["ranks"]
    np.testing.assert_array_equal(np.array(table.column("lateness_ms").to_pylist(), np.float32), values)


@pytest.mark.parametrize("form", [series.JSON, series.OCTETS, series.ARROW])
def test_lateness_of_a_job_without_any_is_empty(service, viewer, form):
    """A job that is still learning has an empty matrix, not an error."""
    put_job(service.store, windows=0)
    answer = viewer.get(f"{API}/train/lateness", headers={"Accept": form})
    assert answer.status_code == 200
    if form == series.OCTETS:
        assert answer.content == bytes(8)


def test_a_long_stretch_is_thinned_and_keeps_its_peaks(service, viewer):
    """Fewer windows than there are: neighbours are merged, and each rank's largest value survives."""
    put_job(service.store, windows=20)
    plain = viewer.get(f"{API}/train/lateness?steps=3").json()
    assert len(plain["times"]) == 3
    assert plain["lateness_ms"][0][7] == 7


@given(
    t=st.integers(1, 50),
    r=st.integers(0, 5),
    most=st.integers(1, 60),
    seed=st.integers(0, 1000),
)
def test_thinning_never_hides_a_peak(t, r, most, seed):
    """Whatever the sizes: at most *most* windows, and the largest value of each rank is still there."""
    values = np.random.default_rng(seed).normal(size=(t, r)).astype(np.float32)
    values[values < -1] = np.nan
    times = np.arange(t, dtype=np.int64)
    thinned_times, thinned = series.thin(times, values, most)
    assert len(thinned_times) == len(thinned) <= max(most, 1)
    assert thinned_times[-1] == t - 1
    for column, original in zip(thinned.T, values.T, strict=True):
        if not np.isnan(original).all():
            assert np.nanmax(column) == np.nanmax(original)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", series.JSON),
        ("*/*", series.JSON),
        ("application/octet-stream, application/problem+json", series.OCTETS),
        ("application/json;q=0.5, application/octet-stream", series.OCTETS),
        ("application/vnd.apache.arrow.stream;q=0.9, application/octet-stream;q=0.1", series.ARROW),
        ("application/json;q=x", series.JSON),
        (";;;,,,=", series.JSON),
    ],
)
def test_the_form_follows_the_accept_header(accept, form):
    """The most wanted of the three forms is chosen."""
    assert series.choose(accept) == form
