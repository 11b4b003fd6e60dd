"""What kind of thing a file is, by its content."""

from __future__ import annotations

import os
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
from support_fr import Job, as_json
from support_inspector import line, write

from offbeat.analyzer.readers.sources import Kind, discover
from offbeat.records import build


def parquet(path, columns, metadata=None):
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata), path)


def test_each_kind_is_recognised_whatever_its_name(tmp_path):
    """Misleading names and suffixes change nothing."""
    job = Job(1)
    (tmp_path / "a.txt").write_bytes(pickle.dumps(job.dump(0), protocol=2))
    (tmp_path / "b.log").write_bytes(as_json(job.dump(0)))
    write(tmp_path, [line(0, 0, 10, host="c", pid=1)])
    pq.write_table(build("ranks", {"rank": [0], "host": ["h"]}), tmp_path / "d.bin")
    straggler = {"dp_rank": [0], "stage": [0], "rank": [0], "step": [0], "optype": ["x"], "duration": [1.0]}
    parquet(tmp_path / "e.json", straggler)
    found = discover([tmp_path])
    assert {kind: [f.name for f in files] for kind, files in found.files.items()} == {
        Kind.FLIGHT_RECORDER: ["a.txt", "b.log"],
        Kind.NCCL_INSPECTOR: ["c-pid1.log"],
        Kind.CAPTURE: ["d.bin"],
        Kind.STRAGGLER_TRACE: ["e.json"],
    }
    assert found.warnings == []


def test_a_capture_may_name_its_tables_by_file(tmp_path):
    """Without metadata the file's name tells the table, parts and all."""
    for name in ("ranks.parquet", "ranks-00001.parquet", "heartbeats_2.parquet"):
        parquet(tmp_path / name, {"rank": [0], "host": ["h"]})
    parquet(tmp_path / "unrelated.parquet", {"x": [1]})
    found = discover([tmp_path])
    assert len(found.files[Kind.CAPTURE]) == 3
    assert "none of the tables" in found.warnings[0]


def test_everything_else_is_a_warning_with_its_reason(tmp_path):
    """Empty, unknown, broken, absent, and things that are no files."""
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "notes.md").write_text("# notes")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1nonsense")
    os.mkfifo(tmp_path / "trace0.pipe")
    found = discover([tmp_path, tmp_path / "absent"])
    text = "\n".join(found.warnings)
    assert not any(found.files.values())
    for expected in ("empty: empty", "notes.md: not a format", "bad.parquet: not readable", "pipe: not a regular file"):
        assert expected in text
    assert "absent: No such file" in text


def test_a_file_given_twice_is_read_once(tmp_path):
    """As itself and by its directory."""
    (tmp_path / "d_0").write_bytes(pickle.dumps(Job(1).dump(0)))
    assert len(discover([tmp_path, tmp_path / "d_0"]).files[Kind.FLIGHT_RECORDER]) == 1


def test_hidden_files_are_left_alone(tmp_path):
    """Editors and file systems leave things behind."""
    (tmp_path / ".DS_Store").write_bytes(b"\x00")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x").write_bytes(b"\x80\x02}.")
    found = discover([tmp_path])
    assert not any(found.files.values())
    assert found.warnings == []
