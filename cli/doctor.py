"""`offbeat doctor`: what works on this machine, and what each missing part would add."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import httpx2
import typer
from rich.text import Text

from offbeat import __version__
from offbeat.cli import render
from offbeat.cli.options import Form, Output, load
from offbeat.collector.ethtool import Ethtool
from offbeat.collector.recorders.nccl import build as nccl_build
from offbeat.collector.sockdiag import SockDiag
from offbeat.collector.source import NoData, Source
from offbeat.collector.sources.dcgm import DcgmSource
from offbeat.collector.sources.gpu import GpuSource
from offbeat.collector.sources.infiniband import InfinibandSource
from offbeat.collector.sources.kernel_log import KernelLogSource
from offbeat.collector.sources.nccl_ras import NcclRasSource
from offbeat.collector.tail import Tail
from offbeat.recovery.memory import isal
from offbeat.recovery.memory.client import KeeperClient, KeeperGoneError
from offbeat.settings import AgentSettings, KeeperSettings, ServiceSettings

SERVICE = ("fastapi", "uvicorn", "sqlalchemy", "alembic", "standardwebhooks")
"""Distributions of the extra `service`."""
TIMEOUT_SECONDS = 3.0

app = typer.Typer(add_completion=False)


class State(StrEnum):
    """How a part stands."""

    OK = "ok"
    MISSING = "missing"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Check:
    """One part: how it stands, what was seen, and what it is good for or would add."""

    part: str
    state: State
    seen: str
    adds: str


@app.command()
def doctor(
    *,
    service: Annotated[
        bool, typer.Option("--service", help="Look at the service's parts: database, data directory, alerts.")
    ] = False,
    output: Output = None,
) -> None:
    """Say what works on this machine, and what each missing part would add.

    Exit code 0 when nothing is wrong; what is merely missing is no fault.
    """
    checks = _look_at_service() if service else [look(load(AgentSettings, {})) for look in CHECKS]
    if output is Form.JSON:
        render.print_json("offbeat.doctor/1", {"checks": [asdict(check) for check in checks]})
    else:
        styles = {State.OK: "green", State.MISSING: "yellow", State.WRONG: "bold red"}
        rows = (
            (check.part, Text(check.state, styles[check.state]), render.plain(check.seen), check.adds)
            for check in checks
        )
        render.console().print(render.table(("PART", "", "SEEN~", "GOOD FOR~"), rows))
    if any(check.state is State.WRONG for check in checks):
        raise typer.Exit(1)


def _look_at_service() -> list[Check]:
    try:
        from offbeat.cli import doctor_service  # noqa: PLC0415 - the agent's machines have none of its libraries
    except ModuleNotFoundError as error:
        seen = f"without {error.name}: pip install 'offbeat[service]'"
        return [Check("service", State.WRONG, seen, "offbeat up: service and dashboard")]
    return doctor_service.look(load(ServiceSettings, {}))


def _program(_: AgentSettings) -> Check:
    seen = f"Offbeat {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    known = platform.system() == "Linux"
    return Check("program", State.OK if known else State.WRONG, seen, "everything; the agent reads Linux")


def _torch(_: AgentSettings) -> Check:
    found = _version("torch")
    return Check("torch", _state(found is not None), found or "not installed", "recording jobs; the demo")


def _nccl(_: AgentSettings) -> Check:
    use = "timing of what NCCL does on GPUs and over the network"
    if (found := nccl_build.library()) is not None:
        return Check("nccl plugin", State.OK, str(found), use)
    seen = "not built: offbeat nccl build" if nccl_build.compiler() else "not built, and no C compiler"
    return Check("nccl plugin", State.MISSING, seen, use)


def _service(_: AgentSettings) -> Check:
    missing = [name for name in SERVICE if _version(name) is None]
    seen = f"without {', '.join(missing)}: pip install 'offbeat[service]'" if missing else "installed"
    return Check("service", _state(not missing), seen, "offbeat up: service and dashboard")


def _postgresql(_: AgentSettings) -> Check:
    found = _version("psycopg")
    return Check("psycopg", _state(found is not None), found or "not installed", "PostgreSQL in place of a file")


def _coding(_: AgentSettings) -> Check:
    there = isal.library() is not None
    seen = "ISA-L" if there else "no ISA-L (pip install pyeclib); numpy codes in its place, at a tenth of the speed"
    return Check("coding", _state(there), seen, "erasure-coded snapshots as fast as memory")


def _keeper(_: AgentSettings) -> Check:
    client = KeeperClient(load(KeeperSettings, {}).keeper_dir)
    try:
        jobs = len(client.call("epochs")["jobs"])
    except (KeeperGoneError, PermissionError) as error:
        return Check("keeper", State.MISSING, str(error), "snapshots in memory")
    finally:
        client.close()
    return Check("keeper", State.OK, f"answers, holds {jobs} jobs", "snapshots in memory")


def _rings(settings: AgentSettings) -> Check:
    use = "what recorders write and the agent reads"
    free = _free(settings.ring_dir)
    if free is None:
        return Check("rings", State.WRONG, f"{settings.ring_dir} cannot be written", use)
    return Check("rings", State.OK, f"{settings.ring_dir}, {free >> 20} MiB free", use)


def _spool(settings: AgentSettings) -> Check:
    use = "keeping telemetry while the service is away"
    free = _free(settings.spool_dir)
    if free is None:
        return Check("spool", State.MISSING, f"{settings.spool_dir} cannot be written", use)
    if free < settings.spool_bytes:
        return Check("spool", State.WRONG, f"{settings.spool_dir} has {free >> 20} MiB, needs more", use)
    return Check("spool", State.OK, f"{settings.spool_dir}, {free >> 20} MiB free", use)


def _tcp(_: AgentSettings) -> Check:
    try:
        with closing(SockDiag()) as diag:
            list(diag.connections(lambda _inode, _user: False))
    except OSError as error:
        return Check("tcp statistics", State.MISSING, str(error), "telling which link is slow")
    return Check("tcp statistics", State.OK, "socket diagnostics answer", "telling which link is slow")


def _pressure(_: AgentSettings) -> Check:
    there = Path("/proc/pressure/cpu").exists()
    seen = "/proc/pressure" if there else "the kernel has no PSI"
    return Check("pressure", _state(there), seen, "telling a busy host from a broken one")


def _scheduler(_: AgentSettings) -> Check:
    there = Path("/proc/self/schedstat").exists()
    seen = "/proc/PID/schedstat" if there else "the kernel has no schedstats"
    return Check("scheduler", _state(there), seen, "how long ranks wait for a CPU")


def _rights(_: AgentSettings) -> Check:
    root = os.geteuid() == 0
    seen = "root" if root else f"user {os.geteuid()}"
    return Check("rights", _state(root), seen, "sockets and state of other users' ranks")


def _kernel_log(settings: AgentSettings) -> Check:
    use = "errors of GPUs, memory, disks and adapters, as the kernel saw them; who was killed"
    if not settings.kernel_log:
        return Check("kernel log", State.MISSING, "turned off (OFFBEAT_KERNEL_LOG)", use)
    there = KernelLogSource(settings.host, list).is_supported()
    return Check("kernel log", _state(there), "/dev/kmsg" if there else "/dev/kmsg may not be read", use)


def _gpu(settings: AgentSettings) -> Check:
    use = "clocks, throttling, memory errors, PCIe and NVLink of each GPU"
    if not settings.gpu:
        return Check("gpu", State.MISSING, "turned off (OFFBEAT_GPU)", use)
    source = GpuSource(settings.host, list)
    there = source.is_supported()
    source.close()
    seen = f"{len(source.addresses())} GPUs" if there else source.failure or ""
    return Check("gpu", _state(there), seen, use)


def _infiniband(settings: AgentSettings) -> Check:
    use = "state, speed and errors of RDMA adapters"
    if not settings.infiniband:
        return Check("infiniband", State.MISSING, "turned off (OFFBEAT_INFINIBAND)", use)
    there = InfinibandSource(settings.host).is_supported()
    return Check("infiniband", _state(there), "/sys/class/infiniband" if there else "no adapter", use)


def _ethernet(settings: AgentSettings) -> Check:
    use = "errors, pauses and speed of network adapters, as their drivers count them"
    if not settings.ethernet:
        return Check("ethernet", State.MISSING, "turned off (OFFBEAT_ETHERNET)", use)
    try:
        with closing(Ethtool()) as ethtool:
            counted = {name: len(_counters(ethtool, name)) for _, name in socket.if_nameindex()}
    except OSError as error:
        return Check("ethernet", State.MISSING, str(error), use)
    seen = ", ".join(f"{name}: {count} counters" for name, count in sorted(counted.items()) if count)
    return Check("ethernet", _state(bool(seen)), seen or "no driver here counts anything", use)


def _counters(ethtool: Ethtool, interface: str) -> list[str]:
    try:
        return ethtool.names(interface)
    except OSError:
        return []


def _cgroups(_: AgentSettings) -> Check:
    there = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    seen = "unified hierarchy" if there else "no unified hierarchy of cgroups"
    return Check("cgroups", _state(there), seen, "what limits of Slurm and Kubernetes deny a rank")


def _dcgm(settings: AgentSettings) -> Check:
    use = "GPUs, where the agent may not ask the driver"
    return _answers("dcgm", settings.dcgm, use, lambda: DcgmSource(settings.host, settings.dcgm))


def _nccl_log(settings: AgentSettings) -> Check:
    return _files("nccl_log", settings.nccl_log, "errors that NCCL and torch log; each rank's adapter")


def _nccl_inspector(settings: AgentSettings) -> Check:
    return _files("nccl_inspector", settings.nccl_inspector, "operations of jobs that run Inspector and no recorder")


def _flight_recorder(settings: AgentSettings) -> Check:
    files, workers = settings.flight_recorder, settings.flight_recorder_workers
    check = _files("flight_recorder", files, "what torch itself saw unfinished, as soon as it dumps")
    if not workers:
        return check
    seen = f"{check.seen}; pulled from {workers}" if files else f"pulled from {workers}"
    return replace(check, state=State.OK, seen=seen)


def _files(part: str, patterns: str, use: str) -> Check:
    """Check a source that follows files."""
    if not patterns:
        return Check(part, State.MISSING, f"not asked for (OFFBEAT_{part.upper()})", use)
    tail = Tail(patterns)
    for _ in tail.lines():
        break
    return Check(part, State.OK, f"{len(tail.paths())} files now match {patterns}", use)


def _nccl_ras(settings: AgentSettings) -> Check:
    use = "which ranks NCCL itself misses, or sees behind"
    return _answers("nccl_ras", settings.nccl_ras, use, lambda: NcclRasSource(settings.host, list, settings.nccl_ras))


def _answers(part: str, setting: str, use: str, make: Callable[[], Source]) -> Check:
    """Check a source that asks another program: give that a moment to answer."""
    if not setting:
        return Check(part, State.MISSING, f"not asked for (OFFBEAT_{part.upper()})", use)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    try:
        source = make()
        source.is_supported()
        while time.monotonic() < deadline:
            try:
                source.read()
            except NoData:
                time.sleep(0.05)
            else:
                return Check(part, State.OK, f"{setting} answers", use)
    except (OSError, ValueError) as error:
        return Check(part, State.WRONG, f"{setting}: {error}", use)
    return Check(part, State.WRONG, f"{setting} says nothing", use)


def _bed(_: AgentSettings) -> Check:
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if os.geteuid() != 0:
        missing.append("root")
    seen = f"without {', '.join(missing)}" if missing else "ip, tc and root"
    return Check("network faults", _state(not missing), seen, "real slow links in the demo")


def _reach(settings: AgentSettings) -> Check:
    use = "sending telemetry, reading findings"
    local = settings.url.startswith("unix://")
    transport = httpx2.HTTPTransport(uds=settings.url.removeprefix("unix://")) if local else None
    try:
        with httpx2.Client(transport=transport, timeout=TIMEOUT_SECONDS) as client:
            answer = client.get(f"{'http://offbeat' if local else settings.url.rstrip('/')}/readyz")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return Check("reach", State.MISSING, f"{settings.url}: {error}", use)
    seen = "is ready" if answer.is_success else f"answers {answer.status_code}"
    return Check("reach", _state(answer.is_success), f"{settings.url} {seen}", use)


CHECKS: tuple[Callable[[AgentSettings], Check], ...] = (
    _program,
    _torch,
    _nccl,
    _service,
    _postgresql,
    _coding,
    _keeper,
    _rings,
    _spool,
    _tcp,
    _pressure,
    _scheduler,
    _rights,
    _kernel_log,
    _gpu,
    _infiniband,
    _ethernet,
    _cgroups,
    _dcgm,
    _nccl_ras,
    _nccl_log,
    _flight_recorder,
    _nccl_inspector,
    _bed,
    _reach,
)
"""What is looked at, in the order it is shown."""


def _state(there: bool) -> State:
    return State.OK if there else State.MISSING


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _free(directory: Path) -> int | None:
    """Return the bytes free for *directory*, which may be yet to be made; None when it cannot be written."""
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        return None
    return shutil.disk_usage(place).free
