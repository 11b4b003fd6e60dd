"""Hosts as the API describes them: what they measured, and the paths between them."""

from mock_service import now_ns

SECOND = 10**9


def node(host, **more):
    """Return a host's JSON."""
    return {
        "host": host,
        "first_seen": 0,
        "last_seen": now_ns(),
        "incarnation": 1,
        "addresses": ["10.0.0.2"],
        "jobs": {"resnet": [4, 5]},
        "conflict": None,
    } | more


def measured(now):
    """Return 15 minutes of a host: GPU 1 gets hot and slow after ten of them, the adapter's link went down then."""
    at = [now - (900 - n * 5) * SECOND for n in range(180)]

    def series(kind, id_, metric, values, *, per_second=False):
        return {
            "device_kind": kind,
            "device_id": id_,
            "metric": metric,
            "per_second": per_second,
            "at": at,
            "value": values,
        }

    hot = [61.0 if n < 120 else 61 + min(30, n - 120) for n in range(180)]
    slow = [1.98e9 if n < 130 else 1.2e9 for n in range(180)]
    return {
        "series": [
            series("gpu", "0", "gpu_temperature_celsius", [60.0 + n % 3 for n in range(180)]),
            series("gpu", "1", "gpu_temperature_celsius", hot),
            series("gpu", "0", "gpu_sm_clock_hz", [1.98e9] * 180),
            series("gpu", "1", "gpu_sm_clock_hz", slow),
            series("gpu", "1", "gpu_pcie_width", [16.0] * 180),
            series("nic", "eth0", "nic_crc_errors_total", [0.0] * 119 + [40.0] + [0.0] * 60, per_second=True),
        ],
        "events": [
            {
                "at": now - 300 * SECOND,
                "rank": None,
                "device_kind": "nic",
                "device_id": "eth0",
                "kind": "nic_link_down",
                "code": None,
                "message": "eth0: link is down",
            },
            {
                "at": now - 290 * SECOND,
                "rank": 5,
                "device_kind": "gpu",
                "device_id": "1",
                "kind": "xid",
                "code": 79,
                "message": "<b>GPU has fallen off the bus</b>",
            },
        ],
        "left_out": 0,
    }


def path(src, dst, rtt_us, usual_rtt_us=1000.0, **more):
    """Return a path of the delay matrix."""
    return {
        "src_host": src,
        "dst_host": dst,
        "connections": 2,
        "rtt_us": rtt_us,
        "usual_rtt_us": usual_rtt_us,
        "busy": 0.5,
        "retransmits": 3.0,
    } | more
