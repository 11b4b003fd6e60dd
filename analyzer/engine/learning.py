"""Learning the beat of each communicator, and which communicator begins the steps of each rank."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from offbeat.analyzer.engine import beat as beats
from offbeat.analyzer.engine import bursts
from offbeat.analyzer.engine.beat import Beat
from offbeat.analyzer.engine.bursts import Burst

if TYPE_CHECKING:
    from offbeat.analyzer.engine.comm import CommWindow
    from offbeat.analyzer.engine.job import JobState

    Ints = np.ndarray[Any, np.dtype[np.int64]]

PER_LOOK = 128
"""Communicators whose beat is checked at a look; more only costs time, and all get their turn."""
CYCLE_NS = 40_000_000
"""Least length of a cycle; shorter beats are taken several at once, or jitter is all there is to see."""
BLOCK_NS = 1_000_000_000
"""Length of a cycle where periods come without a rhythm; shorter ones differ too much from each other."""
SURE = 64
"""Periods after which what belongs together is settled; before, it is looked at again at every doubling."""
BLIND_NS = 20_000_000_000
"""Length of a stream without any beat after which it is cut into blocks; before, a beat may still show."""
LEAST = 64
"""Operations needed for that."""
LEAST_DONE = 4
"""Operations before a beat is looked for at all."""


class _Stream(NamedTuple):
    """A communicator (by its word) or path (by its key): kind comm or path, and its window."""

    key: Any
    kind: str
    window: CommWindow


class Beats:
    """The beats of a job's communicators and paths, by the words (or path keys) of `Intake`."""

    def __init__(self) -> None:
        self.known: dict[Any, Beat] = {}
        self.span: dict[Any, float] = {}
        """How long a cycle takes, ns."""
        self.cycle: dict[Any, int] = {}
        """Operations of a cycle."""
        self.anchor: dict[Any, int] = {}
        """A sequence number at which a cycle begins."""
        self._bursts: dict[Any, Burst] = {}
        self._alike: dict[Any, list[_Stream]] = defaultdict(list)
        self.version = 0
        """Grows whenever any beat or cycle becomes another."""
        self._turn = 0
        self._changed = False
        self._looked: dict[Any, int] = {}
        """The newest sequence number at the last look; with nothing new since, the answer would be the same."""

    def learn(self, job: JobState) -> bool:
        """Check some communicators' beats against their newest operations; return whether steps are cut otherwise."""
        everything = [_Stream(k, "comm", w) for k, w in job.windows.items()]
        everything += [_Stream(k, "path", w) for k, w in job.paths.items()]
        candidates = [e for e in everything if len(e.window.members) > 1 and e.window.top >= LEAST_DONE - 1]
        missing = [e for e in candidates if e.key not in self.known]
        turn = [candidates[(self._turn + k) % len(candidates)] for k in range(min(PER_LOOK, len(candidates)))]
        self._turn += PER_LOOK
        found: dict[Any, Beat | None] = {}
        for stream in {e.key: e for e in [*missing, *turn]}.values():
            self._check(job, stream, found)
        if not self._changed:
            return False
        self._changed = False
        self.version += 1
        return job.intake.set_markers(*self.markers(job))

    def _check(self, job: JobState, stream: _Stream, found: dict[Any, Beat | None]) -> None:
        key, _, window = stream
        held = self.known.get(key)
        if held is not None and window.top - self._looked.get(key, -1) < held.length:
            return
        done = window.complete()
        if len(done) < LEAST_DONE:
            return
        self._looked[key] = window.top
        run = done[np.arange(len(done)) - len(done) + 1 + done[-1] - done == 0]
        rows = run % window.capacity
        if held is not None and _fits(held, _codes(stream, rows[-2 * held.length :]), run, job):
            self._group(job, stream, held, run)
            return
        codes = _codes(stream, rows)
        beat = self._find(codes, int(run[0]), job, found)
        if beat is None and held is None and len(run) >= LEAST:
            entered = window.enter[rows[[0, -1]], 0]
            lasted = float(entered[1] - entered[0])
            beat = _blocks(len(run), lasted) if lasted >= BLIND_NS or len(run) >= window.capacity // 2 else None
        if beat is None or beat == held:
            return
        self.known[key] = beat
        for streams in self._alike.values():
            streams[:] = [s for s in streams if s.key != key]
        self._alike[self._kind_of(stream)].append(stream)
        if not self._group(job, stream, beat, run):
            self._hold(job, stream)

    @staticmethod
    def _find(codes: Ints, first: int, job: JobState, found: dict[Any, Beat | None]) -> Beat | None:
        # Communicators alike in what they did and when have the same beat; thousands are.
        memo = (first, codes.tobytes())
        if memo not in found:
            beat = beats.find(codes, first)
            if beat is None:
                # Sizes that change from step to step (variable sequences, experts) hide a beat that the kinds have.
                coarse = beats.find(job.signatures.kinds()[codes], first)
                beat = Beat(coarse.length, coarse.anchor, coarse.pattern, coarse=True) if coarse else None
            found[memo] = beat
        return found[memo]

    def _kind_of(self, stream: _Stream) -> Any:
        # Alike communicators take equally many periods together, or their steps would not be the same steps.
        return stream.kind, len(stream.window.members), self.known[stream.key].pattern

    def _group(self, job: JobState, stream: _Stream, beat: Beat, run: Ints) -> bool:
        """Look which periods belong together, for all streams like *stream*; return whether the answer is another."""
        alike = self._kind_of(stream)
        if not beat.pattern:
            self._bursts[alike] = Burst(1, 0, BLOCK_NS, SURE)
            return False
        held = self._bursts.get(alike)
        first = -(-(int(run[0]) - beat.anchor) // beat.length)
        seqs = np.arange(beat.anchor + first * beat.length, int(run[-1]) + 1, beat.length)
        if held is not None and (held.seen >= SURE or len(seqs) < 2 * held.seen):
            return False
        window = stream.window
        starts = window.enter[seqs % window.capacity, 0].astype(np.float64)
        found = bursts.find(starts, first)
        if found is None:
            # Few periods are as good as none; without a rhythm in many, blocks must do.
            found = bursts.blocks(starts, BLOCK_NS if len(starts) >= SURE // 2 else CYCLE_NS)
        self._bursts[alike] = found
        if held is not None and (held.periods, held.offset) == (found.periods, found.offset):
            return False
        for each in self._alike[alike]:
            self._hold(job, each)
        return True

    def _hold(self, job: JobState, stream: _Stream) -> None:
        beat, burst = self.known[stream.key], self._bursts[self._kind_of(stream)]
        times = 1 << max(0, int(np.ceil(np.log2(CYCLE_NS / burst.span_ns))))
        length = beat.length * burst.periods * times
        self.cycle[stream.key], self.span[stream.key] = length, burst.span_ns * times
        self.anchor[stream.key] = (beat.anchor + beat.length * burst.offset) % length
        cycles = job.intake.cycles[stream.kind, stream.window.family.size]
        cycles.set_beat(stream.window.number, length, self.anchor[stream.key])
        self._changed = True

    def markers(self, job: JobState) -> tuple[Ints, Ints, Ints]:
        """Return per rank the number of the communicator that begins its steps, its cycle and where that begins."""
        best: dict[int, tuple[Any, ...]] = {}
        windows = {k: w for k, w in job.windows.items() if k in self.known}
        longest: dict[int, float] = {}
        for key, window in windows.items():
            if self.known[key].pattern:
                for rank in window.members:
                    longest[rank] = max(longest.get(rank, 0.0), self.span[key])
        for key, window in windows.items():
            beat = self.known[key]
            for rank in window.members:
                # Among those that take about equally long, the largest: then all its members count the same steps.
                long = bool(beat.pattern) and self.span[key] > 0.8 * longest[rank]
                rating = (long, len(window.members) if long else 0, self.span[key], str(key))
                if rank not in best or rating > best[rank][0]:
                    best[rank] = (rating, job.intake.number_of(key), self.cycle[key], self.anchor[key])
        out = np.full((3, max(best, default=-1) + 1), -1, np.int64)
        for rank, (_, *marker) in best.items():
            out[:, rank] = marker
        return out[0], out[1], out[2]


def _codes(stream: _Stream, rows: Ints) -> Ints:
    """Return what the operations in *rows* are; on a path one is like the other."""
    if stream.kind != "comm":
        return np.zeros(len(rows), np.int64)
    return np.asarray(stream.window.signature[rows].max(axis=1), np.int64)


def _fits(beat: Beat, codes: Ints, run: Ints, job: JobState) -> bool:
    if not beat.pattern:
        return True
    if beat.coarse:
        codes = job.signatures.kinds()[codes]
    tail = codes[-2 * beat.length :]
    phases = (run[-2 * beat.length :] - beat.anchor) % beat.length
    return bool(np.mean(tail == np.array(beat.pattern)[phases]) >= beats.MATCH)


def _blocks(count: int, lasted_ns: float) -> Beat:
    """Return blocks of about a second, of a power of two so that they begin at the same numbers on all ranks."""
    per_second = count / max(lasted_ns / 1e9, 1e-6)
    return Beat(1 << max(0, int(np.log2(max(per_second, 1.0)))), 0, ())
