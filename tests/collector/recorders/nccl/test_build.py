"""Building the plugin on the machine of its users, and trying it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from offbeat.collector.recorders.nccl import build
from offbeat.collector.recorders.nccl.probe import ProbeError, probe


def test_build_and_find(compiler, tmp_path, monkeypatch):
    """A build puts the library where it is looked for afterwards, whole, and leaves nothing else behind."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert build.library() is None
    made = build.build()
    assert build.library() == made
    assert made.is_relative_to(tmp_path)
    assert [path.name for path in made.parent.iterdir()] == [build.LIBRARY]


def test_other_sources_are_another_library(monkeypatch, tmp_path):
    """A library built of other sources, as of an older version, is not taken for this one's."""
    before = build.directory()
    (tmp_path / "x.c").write_text("int x;")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    assert build.directory() != before


def test_without_a_compiler(monkeypatch, tmp_path):
    """Where there is no compiler, the message says what to install."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.BuildError, match="no C compiler: install gcc or clang"):
        build.build(tmp_path)


def test_compiler_that_fails(monkeypatch, tmp_path):
    """What the compiler says is passed on, and no half library is left."""
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho 'x.c:1: error: no such luck' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(build.BuildError, match="no such luck"):
        build.build(tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == []


def test_place_that_cannot_be_written(compiler, tmp_path):
    """A place that is none is named."""
    (tmp_path / "file").touch()
    with pytest.raises(build.BuildError, match="file/below"):
        build.build(tmp_path / "file" / "below")


def test_probe(plugin, tmp_path, monkeypatch):
    """The probe says which versions there are, and that what the library writes can be read; it leaves no ring."""
    monkeypatch.setenv("OFFBEAT_RING_DIR", str(tmp_path / "rings"))
    monkeypatch.setenv("RANK", "0")
    offer = probe(plugin)
    assert offer.versions == [4, 5, 6, 7]
    assert offer.ring == ""
    assert {"collectives", "sends and receives", "kernels", "transfers"} <= set(offer.events)
    assert list((tmp_path / "rings").iterdir()) == []


def test_probe_says_why_nothing_is_recorded(plugin, tmp_path, monkeypatch):
    """A ring directory that cannot be made is the library's own complaint, passed on."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("OFFBEAT_RING_DIR", str(tmp_path / "file" / "rings"))
    assert "Not a directory" in probe(plugin).ring


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("int nothing;", "no profiler plugin"),
        ("#include <stdlib.h>\n__attribute__((constructor)) static void f(void) { abort(); }", "signal 6"),
    ],
)
def test_probe_of_what_is_no_plugin(compiler, tmp_path, source, message):
    """Another library, or one that breaks its process, is an error with a reason."""
    (tmp_path / "x.c").write_text(source)
    library = tmp_path / "x.so"
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "x.c")], check=True)
    with pytest.raises(ProbeError, match=message):
        probe(library)


def test_probe_of_a_text(tmp_path):
    """A file that is no library is an error with the loader's reason."""
    (tmp_path / "x.so").write_text("nothing")
    with pytest.raises(ProbeError, match=r"x\.so"):
        probe(tmp_path / "x.so")


@pytest.mark.slow
def test_wheel_carries_the_sources(tmp_path):
    """The sources are in the wheel: what is installed from it can build the plugin."""
    root = Path(__file__).parents[4]
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    done = subprocess.run([*command, str(root)], capture_output=True, text=True, check=False)
    if "setuptools" in done.stderr and done.returncode:
        pytest.skip("no setuptools here to build a wheel with")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if "recorders/nccl/" in name}
    own = {path.name for pattern in ("*.c", "*.h", "*.py") for path in build.SOURCES.glob(pattern)}
    assert packed == own
