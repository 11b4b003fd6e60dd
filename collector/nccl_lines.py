"""What lines of NCCL's and torch's logs say: who a process is, and what went wrong.

Wordings: NVIDIA/nccl src/debug.cc, src/init.cc, src/transport/net_ib over versions 2.18 to 2.30, src/misc/socket.cc;
torch ProcessGroupNCCL.cpp.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CHARACTERS = 4000
"""Longest part of a line that is looked at."""
FLUSHED = 5
"""Completion status of work that was thrown away because something else failed before: no cause."""
_STATUS = {
    4: "protection error on this side",
    9: "the peer refused the request",
    10: "no access at the peer",
    11: "the peer could not do it",
    12: "no answer from the peer: its host, or the way to it, is broken",
    13: "the peer is alive but posts no receives",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of NCCL: who said it, and what."""

    host: str
    pid: int
    device: int
    warning: bool
    message: str


@dataclass(frozen=True, slots=True)
class Init:
    """A communicator that a process has made."""

    place: int
    size: int
    gpu: int
    comm: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that went wrong; rank only where the line says it is a global one."""

    kind: str
    message: str
    code: int | None = None
    nic: str | None = None
    rank: int | None = None


_PREFIX = re.compile(
    r"(?:\[[^\]]{1,64}\] )?(?P<host>[^\s:\[\]]{1,255}):(?P<pid>\d{1,9}):\d{1,9} \[(?P<dev>\d{1,4})\] "
    r"(?:\S{1,200}:\d{1,6}(?: \([^)]{0,200}\))? )?NCCL (?P<level>INFO|WARN) (?P<message>.*)",
    re.ASCII,
)
_INIT = re.compile(
    r"comm 0x[0-9a-f]+ rank (?P<rank>\d{1,7}) n[rR]anks (?P<n>\d{1,7}) cudaDev (?P<cuda>\d{1,4})"
    r"(?: nvmlDev (?P<nvml>\d{1,4}))? busId [0-9a-f]+(?: commId (?P<id>0x[0-9a-f]{1,16}))?.{0,80}- Init COMPLETE",
    re.ASCII,
)
_SEND = re.compile(r"Channel \d+(?:/\d+)? : \d+\[[0-9a-f]+\] -> \d+\[[0-9a-f]+\] \[send\] via NET/IB/(?P<nic>\d{1,3})")
_USING = re.compile(r"\[(\d{1,3})\]([\w.-]{1,64}:\d{1,3})", re.ASCII)
_COMPLETION = re.compile(
    r"Got completion from peer (?P<peer>\S{1,100}) with (?:error |status=)(?:[A-Z_]{1,40}\()?(?P<status>\d{1,3})\b"
    r"(?:.{0,600}? hca (?P<hca>[\w.-]{1,64}))?",
    re.ASCII,
)
_ASYNC = re.compile(
    r"NET/IB : (?P<nic>[^\s:]{1,64}:\d{1,3}) (?:Got )?(?P<what>async fatal event|non-fatal async event): ?"
    r"(?P<text>[^(]{0,100})(?:\((?P<code>\d{1,6})\))?",
    re.ASCII,
)
_CLOSED = re.compile(r"[Cc]onnection closed by remote peer (?P<peer>\S{1,200})")
_WATCHDOG = re.compile(
    r"\[Rank (?P<rank>\d{1,7})\]\s+Watchdog caught collective operation timeout: "
    r"WorkNCCL\(SeqNum=(?P<seq>\d{1,18}), OpType=(?P<op>\w{1,40}),.{0,300}? ran for (?P<ms>\d{1,15}) milliseconds",
    re.ASCII,
)
_PG_STATUS = re.compile(
    r"\[PG ID \S{1,40} PG GUID [^\]]{1,200} Rank (?P<rank>\d{1,7})\]\s+failure detected by watchdog "
    r"at work sequence id: (?P<seq>\d{1,18}) PG status: (?P<status>.{0,200})",
    re.ASCII,
)


def read(text: str) -> Line | None:
    """Return *text* as a line of NCCL, None if it is none."""
    found = _PREFIX.match(text[:MAX_CHARACTERS])
    if found is None:
        return None
    return Line(found["host"], int(found["pid"]), int(found["dev"]), found["level"] == "WARN", found["message"])


def init(message: str) -> Init | None:
    """Return the communicator whose making *message* reports, if it does."""
    found = _INIT.search(message)
    if found is None:
        return None
    gpu = int(found["nvml"] if found["nvml"] is not None else found["cuda"])
    return Init(int(found["rank"]), int(found["n"]), gpu, found["id"] or "")


def nics(message: str) -> dict[int, str]:
    """Return the adapters that NCCL says it uses, by its own number."""
    if not message.startswith("NET/IB : Using"):
        return {}
    return {int(number): nic for number, nic in _USING.findall(message)}


def sends_by(message: str) -> int | None:
    """Return the number of the adapter that a channel sends through."""
    found = _SEND.match(message)
    return int(found["nic"]) if found else None


def fault(line: Line) -> Fault | None:
    """Return what a warning of NCCL says; None for news that are no fault."""
    if not line.warning:
        return None
    found = _COMPLETION.search(line.message)
    if found:
        status = int(found["status"])
        if status == FLUSHED:
            return None
        meaning = _STATUS.get(status)
        message = f"{line.message} [{meaning}]" if meaning else line.message
        return Fault("nccl_net_error", message, status, found["hca"])
    found = _ASYNC.search(line.message)
    if found:
        fatal = found["what"].startswith("async")
        code = int(found["code"]) if found["code"] else None
        return Fault("nic_error" if fatal else "nic_event", line.message, code, found["nic"])
    if _CLOSED.search(line.message):
        return Fault("nccl_peer_closed", line.message)
    return Fault("nccl_warning", line.message)


def torch_fault(text: str) -> Fault | None:
    """Return what a line of torch's watchdog says, if it is one."""
    text = text[:MAX_CHARACTERS]
    if "atchdog" not in text:
        return None
    found = _WATCHDOG.search(text)
    if found:
        message = f"{found['op']} {found['seq']} ran for {int(found['ms']) / 1000:g} s and was given up"
        return Fault("collective_timeout", message, int(found["seq"]), rank=int(found["rank"]))
    found = _PG_STATUS.search(text)
    if found:
        message = f"failure at {found['seq']}: {found['status']}"
        return Fault("collective_failure", message, int(found["seq"]), rank=int(found["rank"]))
    return None
