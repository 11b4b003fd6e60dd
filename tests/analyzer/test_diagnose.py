"""The whole document, on real and made input."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
from support_fr import Job
from support_inspector import durations, write_job

from offbeat.analyzer.diagnose import TOLD, diagnose

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"
samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples beside the repository")


def culprits(document):
    return sorted({rank for finding in document.findings for rank in finding.culprits.ranks})


@samples
@pytest.mark.parametrize("case", ["gpu_error_2nd", "lock_gil_1st"])
def test_real_hangs_of_a_megatron_job_are_answered_right(case):
    """Two simultaneous culprits in tensor, pipeline, expert and data groups: both, and only they."""
    folder = SAMPLES / "flight_recorder_megatron"
    truth = json.loads((folder / "answers.json").read_text())[case]["culprit_ranks"]
    document = diagnose([folder / case])
    assert culprits(document) == truth
    assert [str(f.fault) for f in document.findings] == ["hang.not_entered"]
    assert document.warnings == []
    assert sorted(document.findings[0].victims) == [r for r in range(16) if r not in truth]


@samples
@pytest.mark.parametrize("lost", range(16))
def test_a_lost_dump_accuses_no_innocent(lost, tmp_path):
    """Whichever rank's dump is missing, nobody but the two is named, and of them those whose dump is there."""
    folder = shutil.copytree(SAMPLES / "flight_recorder_megatron" / "lock_gil_1st", tmp_path / "d")
    folder.chmod(0o755)
    (folder / f"_dump_{lost}").unlink()
    assert set(culprits(diagnose([folder]))) | {lost} >= {9, 14}
    assert set(culprits(diagnose([folder]))) <= {9, 14}


@samples
@pytest.mark.parametrize(
    ("path", "fault", "ranks", "code"),
    [
        ("pytorch_fr_gloo/stall", "hang.not_entered", [3], 1),
        ("pytorch_fr_gloo/clean", None, [], 0),
        ("pytorch_fr_nccl_shaped/missing_rank2", "hang.not_entered", [2], 1),
        ("nccl_inspector", "slow.compute", [5], 1),
        ("nccl_inspector/v4.0_verbose.log", None, [], 3),
        ("nccl_inspector/v4.0_p2p.log", None, [], 3),
        ("straggler_trace", "slow.compute", [0], 1),
        ("logs", None, [], 3),
    ],
)
def test_the_samples_are_answered_right(path, fault, ranks, code):
    """Each kind of sample, its culprits and the exit code."""
    document = diagnose([SAMPLES / path])
    assert document.exit_code == code
    assert culprits(document) == ranks
    assert {str(f.fault) for f in document.findings} == ({fault} if fault else set())


@samples
def test_pytorchs_own_analyser_agrees(tmp_path):
    """On the NCCL-shaped sample torch names the same missing rank."""
    trace = pytest.importorskip("torch.distributed.flight_recorder.fr_trace", reason="needs torch")
    config = pytest.importorskip("torch.distributed.flight_recorder.components.config_manager")
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("Flight Recorder")
    folder = SAMPLES / "pytorch_fr_nccl_shaped" / "missing_rank2"
    try:
        args = config.JobConfig().parse_args([str(folder), "-p", "comm_lib_trace_rank_"])
        details, version = trace.read_dir(args)
        logger.addHandler(handler)
        for name in list(logging.root.manager.loggerDict):
            logging.getLogger(name).addHandler(handler)
        trace.build_db(details, args, version)
    except ImportError as error:
        pytest.skip(f"torch's analyser cannot run: {error}")
    assert any("missing ranks: {2}" in line for line in lines)
    assert culprits(diagnose([folder])) == [2]


def test_mixed_kinds_are_each_handled(tmp_path):
    """A directory of several kinds gives one document that lists them."""
    job = Job(3)
    job.call(done=True)
    job.call(ranks=[0, 2], done=False)
    job.write(tmp_path / "fr")
    write_job(tmp_path / "inspector", durations(60, 4, late={3: (20, 3000)}))
    (tmp_path / "notes.txt").write_text("x")
    document = diagnose([tmp_path])
    assert document.source == ["flight_recorder", "nccl_inspector"]
    assert [(str(f.fault), f.culprits.ranks) for f in document.findings] == [
        ("hang.not_entered", (1,)),
        ("slow.compute", (3,)),
    ]
    assert len(document.warnings) == 1


def test_the_document_has_the_contracts_shape(tmp_path):
    """All keys, all culprit lists, plain JSON values."""
    job = Job(3)
    job.call(ranks=[0, 2], done=False)
    document = json.loads(json.dumps(diagnose([job.write(tmp_path)], job="mine").to_dict()))
    assert document["schema"] == "offbeat.diagnosis/1"
    assert list(document) == ["schema", "source", "job", "observed", "healthy", "findings", "abstained", "warnings"]
    assert set(document["observed"]) == {
        "ranks",
        "hosts",
        "communicators",
        "records",
        "from",
        "to",
        "iterations",
        "iteration_seconds",
    }
    assert document["job"] == "mine"
    assert document["healthy"] is False
    finding = document["findings"][0]
    assert finding["culprits"] == {"ranks": [1], "hosts": [], "links": [], "devices": []}
    assert finding["victims"] == {"ranks": [0, 2]}
    assert finding["detected_at"] is None
    assert {"id", "class", "severity", "slowdown", "confidence", "started_at", "ended_at", "summary", "advice"} < set(
        finding
    )


def test_warnings_are_bounded(tmp_path):
    """A directory of something else does not bury the answer."""
    for number in range(TOLD + 20):
        (tmp_path / f"note{number}").write_text("x")
    warnings = diagnose([tmp_path]).warnings
    assert len(warnings) == TOLD + 1
    assert warnings[-1] == "and 20 more warnings"


def test_ids_are_the_same_each_time(tmp_path):
    """A finding keeps its id from run to run."""
    job = Job(4)
    job.call(ranks=[0, 2], done=False)
    folder = job.write(tmp_path)
    assert [f.id for f in diagnose([folder]).findings] == [f.id for f in diagnose([folder]).findings]


def test_a_fault_of_ours_in_one_kind_does_not_hide_the_others(tmp_path, monkeypatch):
    """Whatever goes wrong while one kind is judged is said, and the rest is told."""
    job = Job(3)
    job.call(ranks=[0, 2], done=False)
    job.write(tmp_path / "fr")
    write_job(tmp_path / "inspector", durations(20, 2))
    monkeypatch.setattr("offbeat.analyzer.readers.inspector.read", lambda files: 1 / 0)
    document = diagnose([tmp_path])
    assert culprits(document) == [1]
    assert any("ZeroDivisionError" in item.why for item in document.abstained)
