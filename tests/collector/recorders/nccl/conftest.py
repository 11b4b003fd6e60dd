"""The plugin and the programs that play NCCL to it, compiled once a run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from offbeat.collector.recorders.nccl import build
from offbeat.collector.ring.reader import RingReader, discover

HERE = Path(__file__).parent
STRICT = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-pthread")


@pytest.fixture(scope="session")
def compiler():
    """Return the command of the C compiler, or skip where there is none."""
    return build.compiler() or pytest.skip("no C compiler on this machine")


@pytest.fixture(scope="session")
def plugin(compiler, tmp_path_factory):
    """Return the path of the plugin, built as users build it."""
    return build.build(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="session")
def program(compiler, tmp_path_factory):
    """Return a function that compiles one of the programs here and returns its path."""
    directory, made = tmp_path_factory.mktemp("programs"), {}

    def compile_one(name, *flags):
        if (name, flags) not in made:
            made[name, flags] = directory / f"{name}-{len(made)}"
            command = [*compiler, *STRICT, "-O2", "-g", *flags, str(HERE / f"{name}.c"), "-o", str(made[name, flags])]
            subprocess.run([*command, "-ldl"], check=True)
        return made[name, flags]

    return compile_one


class Played:
    """A run of the driver in a ring directory of its own."""

    def __init__(self, command, directory, environment):
        self.directory = directory
        known = {name: value for name, value in os.environ.items() if not name.startswith(("OFFBEAT_", "SLURM_"))}
        self.process = subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=known | {"OFFBEAT_RING_DIR": str(directory), "RANK": "3", "WORLD_SIZE": "8"} | environment,
        )
        self.said = {}

    def until(self, name):
        """Read what it says up to the line of this name; return its value."""
        for line in self.process.stdout:
            word, _, value = line.strip().partition(" ")
            self.said[word] = int(value)
            if word == name:
                return self.said[word]
        raise AssertionError(f"it ended without {name!r}: {self.process.communicate()[1]}")

    def ready(self):
        """Wait until it has done its part; return itself."""
        self.until("ready")
        return self

    def finish(self):
        """Let it end; return its exit code and what it said on standard error."""
        _, errors = self.process.communicate("\n", timeout=100)
        return self.process.returncode, errors

    def close(self):
        """End it, whatever it does."""
        self.process.kill()
        self.process.communicate()

    def read(self):
        """Return one poll of its ring, and the ring's strings."""
        (path,) = discover(self.directory)
        with RingReader(path) as reader:
            return reader.poll(), reader.strings


@pytest.fixture
def play(plugin, program, tmp_path):
    """Return a function that starts the driver on the plugin: version, scenario and its arguments."""
    started = []

    def start(version, *arguments, driver=None, library=None, prefix=(), **environment):
        directory = tmp_path / f"rings{len(started)}"
        command = [*prefix, driver or program("driver"), library or plugin, version, *arguments]
        started.append(Played(command, directory, environment))
        return started[-1]

    yield start
    for played in started:
        played.close()


def missing(tool):
    """Return why tests that need *tool* are skipped, None if it is there."""
    return None if shutil.which(tool) else f"no {tool} on this machine"
