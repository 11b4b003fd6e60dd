"""The stack sampler: what it makes of a stack, and what it writes."""

import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from support import wait_until

from offbeat.collector.recorders import sampler
from offbeat.collector.recorders.session import Session
from offbeat.collector.ring.reader import RingReader
from offbeat.collector.ring.writer import RingWriter

STDLIB = str(Path(os.__file__).parent)
OURS = str(Path(sampler.__file__).parent)
TORCH = "/opt/site-packages/torch"


class Code(NamedTuple):
    """What the sampler looks at of a code object."""

    co_filename: str
    co_name: str


@pytest.fixture
def session(tmp_path):
    """Return a session with a ring of its own."""
    ring = RingWriter(tmp_path)
    yield Session(ring)
    ring.close()


@pytest.fixture
def torch_somewhere(monkeypatch):
    """Pretend that torch was imported from a known place."""
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__file__=f"{TORCH}/__init__.py"))


def stack(*frames):
    """Return the innermost of frames given as (file, function), innermost first."""
    outer = None
    for file, function in reversed(frames):
        outer = SimpleNamespace(f_code=Code(file, function), f_lineno=7, f_back=outer)
    return outer


USER = ("/home/me/job/train.py", "main")
MODULE = (f"{TORCH}/nn/modules/module.py", "_call_impl")
CASES = [
    ("data", [(f"{STDLIB}/queue.py", "get"), USER]),
    ("data", [(f"{STDLIB}/threading.py", "wait"), (f"{TORCH}/utils/data/dataloader.py", "__next__"), USER]),
    ("data", [(f"{STDLIB}/multiprocessing/queues.py", "get"), USER]),
    ("collective", [(f"{TORCH}/distributed/distributed_c10d.py", "all_reduce"), USER]),
    (
        "collective",
        [(f"{OURS}/works.py", "wait"), (f"{TORCH}/distributed/fsdp/x.py", "f"), USER],
    ),
    ("collective", [(f"{OURS}/operations.py", "blocked"), MODULE, USER]),
    ("backward", [(f"{TORCH}/autograd/graph.py", "_engine_run_backward"), (f"{TORCH}/_tensor.py", "backward"), USER]),
    (
        "backward",
        [(f"{OURS}/operations.py", "call"), (f"{TORCH}/autograd/graph.py", "f"), USER],
    ),
    ("optimizer", [(f"{TORCH}/optim/adam.py", "step"), USER]),
    ("forward", [("/home/me/job/model.py", "forward"), MODULE, USER]),
    ("forward", [(f"{TORCH}/nn/functional.py", "linear"), MODULE, USER]),
    ("other", [(f"{STDLIB}/queue.py", "put"), USER]),
    ("other", [USER]),
]


@pytest.mark.parametrize(("kind", "frames"), CASES, ids=range(len(CASES)))
def test_first_telling_frame_says_what_the_thread_does(session, torch_somewhere, kind, frames):
    """From the inside out, the first frame that means something decides; the place is the innermost of the user's."""
    found = sampler.Sampler(session, 0).classify(stack(*frames))
    mine = next(frame for frame in frames if frame[0].startswith("/home"))
    assert found == (kind, f"job/{mine[0].rpartition('/')[2]}:7 {mine[1]}")


def test_installed_packages_are_places_and_python_is_none(torch_somewhere):
    """A library beside torch may be to blame; torch, Python and the recorder are not."""
    assert sampler.place_of(f"{STDLIB}/site-packages/lightning/fit.py") == "lightning/fit.py"
    for file in (f"{STDLIB}/json/decoder.py", f"{TORCH}/nn/x.py", "<frozen runpy>", sampler.__file__):
        assert sampler.place_of(file) == ""


def test_endless_recursion_ends(session):
    """A stack deeper than the limit is judged by its inner frames."""
    frames = [("<string>", "f")] * (sampler.MAX_FRAMES + 5) + [USER]
    assert sampler.Sampler(session, 0).classify(stack(*frames)) == ("other", "")


def test_main_thread_is_sampled_while_it_works(session):
    """Soon the ring holds samples, some of them of the place where we are, and a newer clock."""
    looking = sampler.Sampler(session, 100)
    with RingReader(session.ring.path) as reader:
        first = reader.poll().clock
        looking.start()
        found = []

        def some():
            poll = reader.poll()
            found.extend(poll.samples)
            return found and poll.clock

        clock = wait_until(some)
        looking.stop()
    assert clock[0] > first[0]
    assert 1 <= sum(sample.n for sample in found) <= 200
    assert any("support.py:" in sample.where for sample in found)
    assert all(abs(sample.at_ns - time.monotonic_ns()) < 20 * 10**9 for sample in found)


def test_many_places_are_summed(session):
    """Only the most frequent places are told; the rest of a second is one sum."""
    told = []
    seen = sampler.Counter({("other", f"x.py:{n} f"): 2 for n in range(50)})
    sampler._tell(seen, lambda *sample: told.append(sample))
    assert len(told) == sampler.MAX_PLACES + 1
    assert sum(n for *_, n in told) == 100


@pytest.mark.parametrize(
    ("text", "hz"), [("5", 5.0), ("0", 0.0), ("-1", 0.0), ("1e9", sampler.MAX_HZ), ("often", 20.0)]
)
def test_frequency_from_the_environment(monkeypatch, text, hz):
    """OFFBEAT_SAMPLE_HZ is bounded; nonsense means the default."""
    monkeypatch.setenv("OFFBEAT_SAMPLE_HZ", text)
    assert sampler.frequency() == hz


def test_failure_switches_sampling_off_and_says_so(session, monkeypatch):
    """When looking fails, sampling ends with one note, and nothing else happens."""
    looking = sampler.Sampler(session, 100)
    monkeypatch.setattr(looking, "look", lambda: 1 / 0)
    looking.start()
    wait_until(lambda: "stack sampling" in session.guard.broken)
    wait_until(lambda: looking._thread.name not in {thread.name for thread in threading.enumerate()})
    with RingReader(session.ring.path) as reader:
        (note,) = reader.poll().messages
    assert note.text == "stack sampling is no longer recorded: ZeroDivisionError: division by zero"
