"""Made NCCL Inspector logs: durations as a job with late ranks would give them."""

from __future__ import annotations

import json

import numpy as np

START_US = 1_795_378_762_000_000


def line(rank, number, took_us, *, size=8, comm="0x9e7a479f95a66c", name="default_pg", host=None, pid=None, **more):
    """Return one v4.0 line (a dict); *more* overrides `op`, `nbytes`, `at_us` and may add `trace` (start, stop µs)."""
    trace = more.get("trace")
    perf = {
        "coll": more.get("op", "AllReduce"),
        "coll_sn": number,
        "coll_msg_size_bytes": more.get("nbytes", 1 << 28),
        "coll_exec_time_us": int(took_us),
        "coll_timing_source": "kernel_gpu",
        "coll_algobw_gbs": 1.0,
        "coll_busbw_gbs": 1.0,
    }
    if trace is not None:
        perf["event_trace_ts"] = {
            "coll_start_ts": trace[0],
            "coll_stop_ts": trace[0] + 5,
            "kernel_events": [{"channel_id": 0, "kernel_start_ts": trace[0], "kernel_stop_ts": trace[1]}],
        }
    header = {"id": comm, "rank": rank, "n_ranks": size, "nnodes": 2}
    if name is not None:
        header["comm_name"] = name
    return {
        "header": header,
        "metadata": {
            "inspector_output_format_version": "v4.0",
            "git_rev": "",
            "rec_mechanism": "nccl_profiler_interface",
            "dump_timestamp_us": more.get("at_us", START_US + number * 20_000),
            "hostname": host or f"node{rank // 4:02d}",
            "pid": 4000 + rank if pid is None else pid,
        },
        "coll_perf": perf,
    }


def durations(calls, ranks, *, late=None, transfer=1400.0, noise=20.0, seed=0):
    """Return calls by ranks of durations, µs; *late* is rank -> (first call, µs it comes late)."""
    random = np.random.default_rng(seed)
    arrival = np.abs(random.normal(0, noise, (calls, ranks)))
    for rank, (first, by) in (late or {}).items():
        arrival[first:, rank] += by
    return transfer + arrival.max(axis=1, keepdims=True) - arrival + random.normal(0, noise / 4, (calls, ranks))


def write(folder, lines):
    """Write lines (of any processes) to one log a process, as Inspector names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in lines:
        meta = one["metadata"]
        with (folder / f"{meta['hostname']}-pid{meta['pid']}.log").open("a") as log:
            log.write(json.dumps(one, separators=(",", ":")).replace("/", "\\/") + "\n")
    return folder


def write_job(folder, took, *, ranks=None, **more):
    """Write the logs of one communicator whose durations are *took* (calls by ranks)."""
    size = took.shape[1]
    chosen = range(size) if ranks is None else ranks
    return write(folder, [line(r, k, took[k, r], size=size, **more) for k in range(len(took)) for r in chosen])
