"""/nodes/{host}/series: gauges and events of a host on one axis of time."""

import numpy as np
import pytest
from batches import send
from findings import SECOND
from hypothesis import given
from hypothesis import strategies as st

from offbeat import records
from offbeat.api.node_series import growth, thin

T0 = 1_800_000_000_000_000_000
PATH = "/api/v1/nodes/node1/series"


@pytest.fixture
def host(service):
    """Give a host with two GPUs and an adapter over 100 s, and an XID at the 50th; another host beside it."""
    service.store.nodes.seen("node1", T0 + 100 * SECOND, 1, [], [0], job="train")
    rows = []
    for n in range(100):
        hot = 90.0 if n == 70 else 60.0
        rows.append(("node1", n, "gpu", "10", "gpu_temperature_celsius", 60.0))
        rows.append(("node1", n, "gpu", "9", "gpu_temperature_celsius", hot))
        rows.append(("node1", n, "nic", "eth0", "nic_crc_errors_total", 5.0 * n))
        rows.append(("node2", n, "gpu", "9", "gpu_temperature_celsius", 99.0))
    columns = {
        "job": ["train"] * len(rows),
        "attempt": [0] * len(rows),
        "host": [row[0] for row in rows],
        "at": [T0 + row[1] * SECOND for row in rows],
        "device_kind": [row[2] for row in rows],
        "device_id": [row[3] for row in rows],
        "metric": [row[4] for row in rows],
        "value": [row[5] for row in rows],
    }
    event = {
        "job": ["train"] * 2,
        "attempt": [0] * 2,
        "at": [T0 + 50 * SECOND, T0 + 60 * SECOND],
        "host": ["node1", "node2"],
        "device_kind": ["gpu"] * 2,
        "device_id": ["9"] * 2,
        "kind": ["xid"] * 2,
        "code": [79] * 2,
        "message": ["GPU has fallen off the bus"] * 2,
    }
    tables = {"gauges": records.build("gauges", columns), "events": records.build("events", event)}
    send(service.store.telemetry, 1, tables)
    return service


def test_a_hosts_devices_are_series(host, viewer):
    """Each metric of each device of this host, device 9 before 10, counters as growth a second, events beside them."""
    found = viewer.get(PATH).json()
    assert [(each["device_id"], each["metric"], each["per_second"]) for each in found["series"]] == [
        ("9", "gpu_temperature_celsius", False),
        ("10", "gpu_temperature_celsius", False),
        ("eth0", "nic_crc_errors_total", True),
    ]
    assert found["left_out"] == 0
    assert max(found["series"][0]["value"]) == 90
    assert set(found["series"][1]["value"]) == {60}
    assert set(found["series"][2]["value"]) == {5}
    assert [(event["at"], event["code"]) for event in found["events"]] == [(T0 + 50 * SECOND, 79)]


def test_a_peak_survives_thinning(host, viewer):
    """Ten points of a hundred still show the one hot second, and only the stretch asked for."""
    found = viewer.get(PATH, params={"points": 10, "since": T0 + 20 * SECOND, "until": T0 + 90 * SECOND}).json()
    hot = found["series"][0]
    assert len(hot["at"]) <= 10
    assert max(hot["value"]) == 90
    assert hot["at"][0] >= T0 + 20 * SECOND
    assert hot["at"][-1] < T0 + 90 * SECOND


def test_what_is_sealed_is_read_as_what_is_not(host, viewer):
    """The host's rows are found in segment files as well."""
    before = viewer.get(PATH).json()
    host.store.telemetry.seal()
    assert viewer.get(PATH).json() == before


@pytest.mark.parametrize("query", [{"since": 0}, {"since": T0, "until": T0}, {"points": 1}])
def test_a_stretch_that_is_none_is_refused(host, viewer, query):
    """More than six hours, nothing, and no points."""
    assert viewer.get(PATH, params=query).status_code == 422


def test_a_host_that_measured_nothing_has_no_series(service, viewer):
    """A host that is known is no error; one that is not, is."""
    service.store.nodes.seen("node1", T0, 1, [], [0], job="train")
    found = viewer.get(PATH).json()
    assert (found["series"], found["events"], found["left_out"]) == ([], [], 0)
    assert viewer.get("/api/v1/nodes/none/series").status_code == 404


def test_a_counter_that_began_anew_is_no_negative_growth():
    """After a reset it grew by what it counted since."""
    at, value = growth(np.arange(4) * SECOND, np.array([10.0, 14.0, 3.0, 3.0]))
    assert at.tolist() == [SECOND, 2 * SECOND, 3 * SECOND]
    assert value.tolist() == [4.0, 3.0, 0.0]
    assert growth(np.arange(1), np.array([1.0]))[0].size == 0


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=200), st.integers(2, 50))
def test_thinning_keeps_extremes_and_order(values, points):
    """Never more than asked for, never a lower peak, never a higher dip, times ascending."""
    at, kept = thin(np.arange(len(values)), np.array(values), points)
    assert len(kept) <= points
    assert (max(kept), min(kept)) == (max(values), min(values))
    assert (np.diff(at) > 0).all()
