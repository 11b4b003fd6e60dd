"""`offbeat nccl`: build, path, check."""

import json

import pytest

from offbeat.collector.recorders.nccl import build


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a user's data directory, or skip where nothing can be built."""
    if build.compiler() is None:
        pytest.skip("no C compiler on this machine")
    return tmp_path_factory.mktemp("home")


def test_path_before_build(cli, tmp_path):
    """What is not built yet has no path, and the message says what to run."""
    done = cli("nccl", "path", XDG_DATA_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (3, "")
    assert "run 'offbeat nccl build' first" in done.stderr


def test_build_path_check(cli, home):
    """A build prints the path that `path` prints, and the check says which versions there are."""
    environment = {"XDG_DATA_HOME": str(home), "OFFBEAT_RING_DIR": str(home / "rings")}
    made = cli("nccl", "build", **environment)
    assert made.returncode == 0, made.stderr
    assert cli("nccl", "path", **environment).stdout == made.stdout
    checked = cli("nccl", "check", "-o", "json", **environment)
    assert checked.returncode == 0, checked.stderr
    said = json.loads(checked.stdout)
    assert (said["schema"], said["library"], said["versions"]) == ("offbeat.nccl/1", made.stdout.strip(), [4, 5, 6, 7])
    assert (said["ring_directory"], said["ring"]) == (str(home / "rings"), "")
    assert "v4, v5, v6, v7" in cli("nccl", "check", **environment).stdout


def test_check_of_a_directory_without_a_ring(cli, home):
    """A ring directory that cannot be made is no success."""
    (home / "file").touch()
    cli("nccl", "build", "-d", str(home))
    done = cli("nccl", "check", str(home / build.LIBRARY), OFFBEAT_RING_DIR=str(home / "file" / "rings"))
    assert done.returncode == 3
    assert "Not a directory" in " ".join(done.stdout.split())


def test_build_without_a_compiler(cli, tmp_path):
    """Without a compiler the command says so in one line; nothing else of Offbeat needs one."""
    done = cli("nccl", "build", XDG_DATA_HOME=str(tmp_path), CC="no-such-compiler")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no C compiler" in done.stderr


def test_check_of_a_missing_file(cli, tmp_path):
    """A path that leads nowhere is named."""
    done = cli("nccl", "check", str(tmp_path / "none.so"))
    assert done.returncode == 3
    assert "none.so: no such file" in done.stderr
