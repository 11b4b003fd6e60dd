"""pip for a Python without ensurepip."""

import ensurepip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from page_server import PageServer

SCRIPT = Path(__file__).parents[2] / "packaging/bootstrap_pip.py"


@pytest.fixture
def bare(tmp_path):
    """Return the Python of an environment without pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    return tmp_path / "bare/bin/python"


def bootstrap(python, index):
    """Run the script against *index*; return what it did and whether pip is there now."""
    environment = os.environ | {"PIP_INDEX_URL": index, "no_proxy": "*"}
    done = subprocess.run([python, SCRIPT], capture_output=True, text=True, check=False, env=environment)
    return done, subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def index_of(wheel, digest):
    """Return a server of an index that has a wheel, under a hash, and an older one that is not there."""
    names = {wheel.name: digest, "pip-9.0.1-py3-none-any.whl": "0"}
    files = [{"filename": name, "url": f"../../{name}", "hashes": {"sha256": hashed}} for name, hashed in names.items()]
    return PageServer({"/simple/pip/": json.dumps({"files": files}).encode(), f"/{wheel.name}": wheel.read_bytes()})


@pytest.mark.slow
@pytest.mark.parametrize("honest", [True, False])
def test_the_newest_wheel_is_installed_if_its_hash_is_right(bare, honest):
    """What the index says is compared with what it gives."""
    wheel = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    server = index_of(wheel, hashlib.sha256(wheel.read_bytes()).hexdigest() if honest else "0")
    done, there = bootstrap(bare, f"http://127.0.0.1:{server.port}/simple")
    server.close()
    assert (done.returncode, there) == ((0, True) if honest else (1, False)), done.stderr
    assert honest or "another hash" in done.stderr


def test_an_index_that_is_away_is_one_line(bare):
    """Without a network it says so."""
    done, there = bootstrap(bare, "http://127.0.0.1:9/simple")
    assert (done.returncode, there, done.stderr.count("\n")) == (1, False, 1)
