"""hang.not_entered, hang.in_transport, lost.host: an operation is overdue.

Reads: open operations, process states, TCP connections, heartbeats. Emits: one suspicion a job, for all roots.

Collectives are judged first, then ranks: a rank that has not entered one collective because it waits in another
is a victim of the other's root. Waits of sends and receives explain, and never accuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.analyzer.engine import overdue
from offbeat.analyzer.engine.rules.common import SECOND, listing, stack
from offbeat.analyzer.engine.suspicion import Suspicion
from offbeat.analyzer.engine.waits import blame
from offbeat.model import Action, Advice, Culprits, Device, Evidence, FaultClass, Link, Severity

if TYPE_CHECKING:
    from offbeat.analyzer.engine.edges import Edge
    from offbeat.analyzer.engine.overdue import Overdue
    from offbeat.analyzer.engine.view import View
    from offbeat.analyzer.engine.waits import Blame

SILENT_NS = 3 * SECOND
"""Silence after which what a host last said is no longer true; shorter than a few missed reports, a late batch
makes a rank look as if it had not entered."""
FRESH_NS = int(1.7 * SECOND)
"""Age of what is known of a host, up to which a rank of it may be said not to have entered: a heartbeat's interval
and a moment. An agent that lacks a CPU itself reports late, and its ranks look as if they hung."""
BACKOFF = 2
"""Doublings of the retransmission timer; one happens on a healthy network."""
CARRIER_SLACK_NS = 2 * SECOND
"""How much earlier than the hang a carrier may have been lost; hosts' clocks differ, and a ring drains first."""
SYMMETRIC = {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "barrier"}
"""Operations that nobody can finish before all have entered; of the others a root or leaf may."""


def judge(view: View) -> list[Suspicion]:
    """Return the hang of this job, if it hangs."""
    late = find(view)
    if not late:
        return []
    silent, why = _silent_hosts(view), blame(view, late)
    stopped, roots, cut = _stopped(view, late), _known(view, why.roots, silent), _cut_off(view, late)
    oldest = max(late, key=lambda o: o.age_ns)
    if cut and not stopped and (not roots or cut[0] in {view.job.host_of(r) for r in roots}):
        return [_lost_path(view, oldest, *cut, silent=cut[0] in silent)]
    if not stopped and not roots:
        gone = [h for h in silent if not _exited(view, h)]
        if len(gone) == 1:
            return [_lost_path(view, oldest, gone[0], [], silent=True)]
    if not stopped and not roots and (links := _stalled(view, why)):
        return [_in_transport(view, late, links)]
    return [_hang(view, late, *_who(view, late, stopped, roots))]


def _who(
    view: View, late: list[Overdue], stopped: list[int], roots: list[int]
) -> tuple[FaultClass, list[int], list[Evidence]]:
    """Return class, culprits and what tells them, the surest witness first."""
    if stopped:
        outside = any(set(stopped) & {*o.missing, *o.behind} for o in late)
        fault = FaultClass.HANG_NOT_ENTERED if outside else FaultClass.HANG_IN_TRANSPORT
        texts = [f"all threads of rank {r} on {view.job.host_of(r)} are stopped" for r in stopped]
        return fault, stopped, [Evidence("process", t, {}) for t in texts]
    if roots:
        return FaultClass.HANG_NOT_ENTERED, roots, [e for r in roots[:4] for e in stack(view, r, view.now - 5 * SECOND)]
    stuck = sorted({r for o in late if _op(view, o) in SYMMETRIC for r in o.stuck})
    text = f"{listing(stuck)} is still inside an operation that the others have finished" if stuck else ""
    return FaultClass.HANG_IN_TRANSPORT, stuck, [Evidence("stuck", text, {})] if stuck else []


def find(view: View) -> list[Overdue]:
    """Return the overdue operation of each communicator that has one, unless a dead member explains it."""
    stopped = any(f.stopped for f in view.job.ranks.values())
    late = []
    for window in view.standing:
        dead = any(view.job.ranks[r].exit for r in window.members if r in view.job.ranks)
        if not dead and (o := overdue.find(window, stopped=stopped, announced=bool(view.job.phases))):
            late.append(o)
    return late


def _op(view: View, o: Overdue) -> str:
    return view.job.signatures.known[int(o.window.signature[o.seq % o.window.capacity].max())].op


def _silent_hosts(view: View) -> list[str]:
    """Return hosts whose agent has said nothing for a while, while another's has."""
    behind = {h: view.hosts.get(h).behind(view.now) for h in view.job.hosts()}
    newest = min(behind.values(), default=0)
    return [h for h, ns in behind.items() if ns - newest > max(SILENT_NS, 3 * view.hosts.get(h).interval_ns)]


def _stopped(view: View, late: list[Overdue]) -> list[int]:
    members = {r for o in late for r in o.window.members}
    return sorted(r for r in members if r in view.job.ranks and view.job.ranks[r].stopped)


def _known(view: View, roots: set[int], silent: list[str]) -> list[int]:
    """Return the roots, nobody where nothing fresh is known of one: it may have entered since."""
    known = {h for h in view.job.hosts() if h not in silent and view.hosts.get(h).behind(view.now) < FRESH_NS}
    return sorted(roots) if all(view.job.host_of(r) in known for r in roots) else []


def _stalled(view: View, why: Blame) -> list[tuple[int, int]]:
    """Return the edges on which what all have entered stands still."""
    comms = {o.window.comm for o in why.groups}
    return sorted({*why.paths, *view.job.stalls.edges(comms)})


def _in_transport(view: View, late: list[Overdue], links: list[tuple[int, int]]) -> Suspicion:
    job, first = view.job, max(late, key=lambda o: o.age_ns)
    members = {r for o in late for r in o.window.members}
    shown = ", ".join(f"rank {s} to rank {d}" for s, d in links[:4])
    text = f"both ends are there, and data has stopped on its way: {shown}"
    return Suspicion(
        key="hang",
        fault=FaultClass.HANG_IN_TRANSPORT,
        severity=Severity.CRITICAL,
        summary=f"{_op(view, first)} {first.seq} in group {first.window.name} stands still on the way from {shown}",
        advice=Advice(Action.RESTART_JOB, "the path does not carry data any more; look at its adapters and cable"),
        culprits=Culprits(links=tuple(Link(s, d, job.host_of(s) or None, job.host_of(d) or None) for s, d in links)),
        victims=tuple(sorted(members)),
        evidence=(*[_overdue_text(view, o) for o in late[:3]], Evidence("transfer", text, {"links": links})),
        confidence=0.9,
        started_at=first.since,
        clear_ns=SECOND,
    )


def _exited(view: View, host: str) -> bool:
    return any(view.job.ranks[r].exit for r in view.job.hosts().get(host, ()))


def _cut_off(view: View, late: list[Overdue]) -> tuple[str, list[Edge]] | None:
    """Return the one host whose connections time out with data unacknowledged (or that lost its carrier)."""
    # A carrier that came back does not end the hang it made: the timers of the connections go on for a while.
    since = min(o.since for o in late) - CARRIER_SLACK_NS
    for host in view.job.hosts():
        if view.hosts.get(host).without_carrier(since):
            return host, []
    edges = view.job.edges.edges(view.hosts, view.job.edges.newest - 2 * SECOND, carrying=False)
    dead = [e for e in edges if e.now.backoff >= BACKOFF and e.now.unacked > 0]
    if not dead:
        return None
    touch: dict[str, int] = {}
    for edge in dead:
        for host in {edge.src_host, edge.dst_host}:
            touch[host] = touch.get(host, 0) + 1
    host, count = max(touch.items(), key=lambda item: item[1])
    others = [n for h, n in touch.items() if h != host]
    if count < len(dead) or (others and max(others) == count):
        return _by_silence(view, touch, dead)
    return host, dead


def _by_silence(view: View, touch: dict[str, int], dead: list[Edge]) -> tuple[str, list[Edge]] | None:
    """Of several hosts that the dead connections share, return the one that has also gone silent."""
    silent = [h for h in _silent_hosts(view) if h in touch]
    return (silent[0], dead) if len(silent) == 1 else None


def _lost_path(view: View, o: Overdue, host: str, dead: list[Edge], *, silent: bool) -> Suspicion:
    evidence = [_overdue_text(view, o)]
    lost = view.hosts.get(host).without_carrier(o.since - CARRIER_SLACK_NS)
    evidence += [Evidence("carrier", f"{host} lost the carrier of {device}", {"at": at}) for device, at in lost.items()]
    evidence += [
        Evidence(
            "tcp",
            f"{e.src_host} to {e.dst_host}: {e.now.unacked:.0f} segments unacknowledged, retransmission timer doubled "
            f"{e.now.backoff:.0f} times",
            {"src_rank": e.src_rank, "dst_rank": e.dst_rank},
        )
        for e in dead[:4]
    ]
    if silent:
        evidence.append(Evidence("silence", f"the agent of {host} is silent while the others report", {}))
    ranks = tuple(view.job.hosts().get(host, ()))
    fault = FaultClass.LOST_HOST if silent else FaultClass.HANG_IN_TRANSPORT
    what = "is gone: its agent is silent and its peers wait for it" if silent else "is cut off from the others"
    return Suspicion(
        key="hang",
        fault=fault,
        severity=Severity.CRITICAL,
        summary=f"{host} {what}; {_op(view, o)} {o.seq} in group {o.window.name} stands still",
        advice=Advice(Action.ISOLATE_HOST, "no data passes between it and its peers"),
        culprits=Culprits(ranks=ranks, hosts=(host,), devices=tuple(Device(host, "nic", d) for d in lost)),
        victims=tuple(m for m in o.window.members if m not in ranks),
        evidence=tuple(evidence),
        confidence=0.9,
        started_at=o.since,
        clear_ns=SECOND,
    )


def _overdue_text(view: View, o: Overdue) -> Evidence:
    text = (
        f"{_op(view, o)} {o.seq} in group {o.window.name} has lasted {o.age_ns / 1e9:.1f} s; "
        f"learned bound {o.bound_ns / 1e9:.1f} s; {listing(o.waiting)} inside"
    )
    if o.missing:
        text += f", {listing(o.missing)} not entered"
    elif o.behind:
        text += f"; {listing(o.behind)} launched nothing after it, the others did"
    return Evidence("overdue", text, {"comm": o.window.comm, "seq": o.seq, "age_ns": o.age_ns, "bound_ns": o.bound_ns})


def _hang(
    view: View, late: list[Overdue], fault: FaultClass, culprits: list[int], evidence: list[Evidence]
) -> Suspicion:
    late = sorted(late, key=lambda o: -o.age_ns)
    first = late[0]
    members = {r for o in late for r in o.window.members}
    where = f"{_op(view, first)} {first.seq} in group {first.window.name}"
    if not culprits:
        summary = f"{where} stands still: everybody entered, nothing tells where it stopped"
        advice = Advice(Action.INSPECT, "take stacks and Flight Recorder dumps of all ranks before restarting")
    else:
        hosts = sorted({view.job.host_of(r) for r in culprits} - {""})
        did = "has not entered" if fault is FaultClass.HANG_NOT_ENTERED else "stopped inside"
        summary = f"{listing(culprits)} ({', '.join(hosts)}) {did} {where}; {len(members - set(culprits))} others wait"
        advice = Advice(Action.RESTART_JOB, "the job cannot go on without that rank; take its stack first")
    return Suspicion(
        key="hang",
        fault=fault,
        severity=Severity.CRITICAL,
        summary=summary,
        advice=advice,
        culprits=Culprits(ranks=tuple(culprits)),
        victims=tuple(sorted(members - set(culprits))),
        evidence=(*[_overdue_text(view, o) for o in late[:3]], *evidence),
        confidence=0.95 if culprits else 0.5,
        started_at=first.since,
        hold_ns=0 if culprits else 2 * SECOND,
        clear_ns=SECOND,
    )
