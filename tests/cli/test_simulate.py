"""`offbeat simulate`: captures that `offbeat diagnose` reads."""

from __future__ import annotations

import json

import pytest

from offbeat.cli.main import run

SMALL = ["--ranks", "16", "--tp", "2", "--pp", "2", "--steps", "60"]


def test_what_was_done_is_what_is_found(tmp_path, capsys):
    """A slow rank is written into the capture, the truth lies beside it, and `diagnose` names that rank alone."""
    out = tmp_path / "out"
    assert run(["simulate", str(out), *SMALL, "--fault", "slow.compute:rank=5,times=1.3,start=30"]) == 0
    assert "simulated" in capsys.readouterr().out
    truth = json.loads((out / "truth.json").read_text())
    assert [(f["class"], f["ranks"]) for f in truth["faults"]] == [("slow.compute", [5])]
    assert run(["diagnose", str(out), "--format", "json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["class"], finding["culprits"]["ranks"]) == ("slow.compute", [5])


def test_a_healthy_job_is_healthy(tmp_path, capsys):
    """Without a fault nothing is found."""
    assert run(["simulate", str(tmp_path / "out"), *SMALL]) == 0
    assert run(["diagnose", str(tmp_path / "out")]) == 0
    assert "simulated" in capsys.readouterr().out


def test_nothing_is_overwritten_unasked(tmp_path, capsys):
    """A directory that holds something is left alone without --force."""
    (tmp_path / "mine").write_text("x")
    assert run(["simulate", str(tmp_path), *SMALL]) == 64
    assert "--force" in capsys.readouterr().err
    assert run(["simulate", str(tmp_path), *SMALL, "--force"]) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--fault", "slow.everything"], "unknown class"),
        (["--fault", "slow.compute:rank=x"], "rank='x'"),
        (["--fault", "slow.compute:rank=99"], "rank 99"),
        (["--fault", "slow.compute:speed=2"], "unknown key 'speed'"),
        (["--ranks", "30"], "no multiple"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, capsys, arguments, told):
    """A wrong fault or shape ends with 64 and names the part at fault; nothing is written."""
    assert run(["simulate", str(tmp_path / "out"), *SMALL, *arguments]) == 64
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
