"""The driver's scenarios under sanitizers and valgrind: not one report."""

import shutil
import subprocess

import pytest

from offbeat.collector.recorders.nccl import build

SCENARIOS = (("one",), ("threads", "40", "100"), ("hostile",), ("reload", "5"))
SANITIZERS = {
    "address": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
    # It knows no fences; ours orders stores for readers in other processes, which it does not see anyway.
    "thread": ("-fsanitize=thread", "-Wno-tsan"),
}
VERSIONS = (4, 5, 6, 7)


@pytest.fixture(scope="module")
def checked(compiler, program, tmp_path_factory):
    """Return a function that builds plugin and driver with a sanitizer, or skips where the compiler has none."""
    made = {}

    def build_with(name):
        if name not in made:
            flags = SANITIZERS[name]
            library = tmp_path_factory.mktemp(name) / build.LIBRARY
            warnings = ("-Wall", "-Wextra", "-Werror", "-g", "-O1")
            sources = sorted(build.SOURCES.glob("*.c"))
            command = [*compiler, *build.FLAGS, *warnings, *flags, "-o", library, *sources]
            done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
            if done.returncode and "san" in done.stderr and "cannot find" in done.stderr:
                pytest.skip(f"the compiler has no {name} sanitizer")
            assert done.returncode == 0, done.stderr
            made[name] = program("driver", *flags), library
        return made[name]

    return build_with


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario[0])
@pytest.mark.parametrize("name", SANITIZERS)
def test_sanitizers(play, checked, name, scenario, version):
    """Addresses, leaks, undefined behaviour, data races: none."""
    driver, library = checked(name)
    played = play(version, *scenario, driver=driver, library=library).ready()
    assert played.finish() == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [("one",), ("threads", "6", "50"), ("reload", "3")], ids=lambda s: s[0])
def test_valgrind(play, scenario):
    """Valgrind finds no read of what was never written, and nothing lost."""
    if shutil.which("valgrind") is None:
        pytest.skip("no valgrind: it comes with Debian's package of that name")
    prefix = ("valgrind", "-q", "--error-exitcode=9", "--leak-check=full")
    assert play(6, *scenario, prefix=prefix).ready().finish() == (0, "")


def test_compiler_has_nothing_to_say(compiler, tmp_path):
    """The sources are C11 without a warning."""
    sources = sorted(map(str, build.SOURCES.glob("*.c")))
    flags = ["-Wall", "-Wextra", "-Werror", "-o", str(tmp_path / "plugin.so")]
    done = subprocess.run([*compiler, *build.FLAGS, *flags, *sources], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
