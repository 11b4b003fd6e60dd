"""Damaged input never crashes a diagnosis, and never becomes somebody's guilt by accident of parsing."""

from __future__ import annotations

import json
import pickle
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_fr import Job, as_json, megatron
from support_inspector import durations, line

from offbeat.analyzer.diagnose import diagnose

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def hung_job():
    world, groups = megatron(tensor=2, pipeline=2, data=1)
    job = Job(world, groups)
    for _ in range(3):
        for group in groups:
            job.call(group.name)
    job.send(0, 2, "3")
    job.batch(1, ["send 0->1", "recv 0<-1"], "4")
    job.call("1", ranks=[0], done=False)
    job.call("2", op="broadcast", ranks=[2], done=False)
    return job


JOB = hung_job()


def paths(value, at=()):
    """Yield the way to every value inside *value*."""
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*at, key))


def put(value, way, new):
    """Return *value* with what lies at *way* replaced, or removed where *new* is ...."""
    if not way:
        return None if new is ... else new
    inside = value
    for key in way[:-1]:
        inside = inside[key]
    if new is ... and isinstance(inside, dict):
        del inside[way[-1]]
    else:
        inside[way[-1]] = None if new is ... else new
    return value


def diagnosed(files):
    """Write *files* (name -> bytes) and diagnose them; the document must be whole."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        document = diagnose([Path(folder)])
    assert json.loads(json.dumps(document.to_dict()))["schema"] == "offbeat.diagnosis/1"
    assert document.exit_code in {0, 1, 3}
    assert not any("offbeat failed" in item.why for item in document.abstained)
    return document


@relaxed
@given(st.data(), st.integers(0, 3), st.booleans())
def test_dumps_with_anything_anywhere(data, rank, pickled):
    """One value of one dump is replaced or gone."""
    dumps = {r: json.loads(json.dumps(JOB.dump(r))) for r in range(4)}
    for _ in range(data.draw(st.integers(1, 3))):
        way = data.draw(st.sampled_from(sorted(paths(dumps[rank]), key=str)))
        dumps[rank] = put(dumps[rank], way, data.draw(st.just(...) | junk))
        if not isinstance(dumps[rank], dict):
            break
    write = (lambda d: pickle.dumps(d, protocol=2)) if pickled else (lambda d: json.dumps(d).encode())
    diagnosed({f"rank_{r}": write(dump) for r, dump in dumps.items()})


@relaxed
@given(st.data(), st.integers(0, 3), st.booleans())
def test_dumps_with_damaged_bytes(data, rank, pickled):
    """Cut anywhere, altered anywhere."""
    files = {f"rank_{r}": pickle.dumps(JOB.dump(r), protocol=2) if pickled else as_json(JOB.dump(r)) for r in range(4)}
    blob = bytearray(files[f"rank_{rank}"])
    for _ in range(data.draw(st.integers(0, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    files[f"rank_{rank}"] = bytes(blob[: data.draw(st.integers(0, len(blob)))])
    diagnosed(files)


@relaxed
@given(st.data())
def test_inspector_lines_with_anything_anywhere(data):
    """One value of some lines is replaced or gone, and the file is cut."""
    took = durations(10, 2)
    lines = [
        line(r, k, took[k, r], size=2, trace=(10**15 + k * 1000, 10**15 + k * 1000 + 9))
        for k in range(10)
        for r in (0, 1)
    ]
    for _ in range(data.draw(st.integers(1, 4))):
        number = data.draw(st.integers(0, len(lines) - 1))
        if isinstance(lines[number], dict):
            way = data.draw(st.sampled_from(sorted(paths(lines[number]), key=str)))
            lines[number] = put(lines[number], way, data.draw(st.just(...) | junk))
    text = "\n".join(json.dumps(one) for one in lines).encode()
    diagnosed({"node-pid1.log": text[: data.draw(st.integers(0, len(text)))]})


@relaxed
@given(st.lists(st.tuples(st.text("abc_0123456789.", min_size=1, max_size=9), st.binary(max_size=120)), max_size=5))
def test_files_of_anything(files):
    """Whatever lies in a directory, with whatever names."""
    diagnosed({name: data for name, data in files if name.strip(".")})


@relaxed
@given(st.data())
def test_a_missing_rank_stays_the_culprit(data):
    """Dropping finished entries, counters or times of anybody changes nothing about who stopped."""
    job = Job(4)
    for _ in range(6):
        job.call()
    job.call(ranks=[0, 1, 3], done=False)
    files = {}
    for rank in range(4):
        dump = json.loads(json.dumps(job.dump(rank)))
        keep = data.draw(st.integers(0, 6))
        dump["entries"] = dump["entries"][keep:]
        for entry in dump["entries"]:
            for key in data.draw(st.sets(st.sampled_from(["time_created_ns", "timeout_ms", "op_id", "output_sizes"]))):
                entry.pop(key, None)
        if data.draw(st.booleans()) and dump["entries"]:
            dump["pg_status"] = {}
        files[f"rank_{rank}"] = json.dumps(dump).encode()
    document = diagnosed(files)
    assert [f.culprits.ranks for f in document.findings] == [(2,)]
