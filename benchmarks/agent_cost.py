"""What the agent costs a node: processor time, memory, disk and bytes on the wire, beside ranks that keep it busy.

    python benchmarks/agent_cost.py [--ranks 8] [--ops 1000] [--threads 16] [--seconds 20] [--detail reduced]

Each rank is a process with a ring, a few sleeping threads, and a TCP connection to the next rank that carries bytes,
as in a ring of gloo; its operations are spread over three communicators, two kinds in each. All of the agent's sources
are on. The service runs in a process of its own and takes everything at once. Goals at 8 ranks and 1,000 operations a
second each, reduced: 2 % of a core, 120 MiB of anonymous memory, 1,024 bytes a rank and second.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
WARM_UP_SECONDS = 4


def rank(directory: str, number: int, world: int, ops: int, threads: int) -> None:
    """Be one rank: launch and end operations, and pass bytes on to the next rank."""
    from offbeat.collector.ring.writer import RingWriter  # noqa: PLC0415 - ranks alone need it

    for _ in range(threads):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    right = socket.create_connection(("127.0.0.1", int(input())))
    left, _ = server.accept()
    left.setblocking(False)
    ring = RingWriter(Path(directory))
    ring.identify(job="bench", attempt=1, rank=number, world=world, local_rank=number)
    kinds = []
    for group in ("world", "tensor", "data"):
        comm = ring.communicator(f"{group}@00000000", group, number, tuple(range(world)))
        ops_of_group = ("all_reduce", "all_gather")
        kinds += [ring.signature(comm, op, native=op, dtype="float32", redop="sum") for op in ops_of_group]
    seqs, made, ticked, begun = [0, 0, 0], 0, 0.0, time.monotonic()
    while True:
        try:
            right.send(b"x" * 4096)
        except ConnectionError:  # the measurement is over
            return
        with contextlib.suppress(BlockingIOError):
            left.recv(1 << 16)
        # Several in a row where a sleep would be too short to be kept.
        for _ in range(int((time.monotonic() - begun) * ops) - made):
            group = made % 3
            token = ring.start(kinds[2 * group + made // 3 % 2], 1 << 20, seqs[group])
            ring.end(token)
            seqs[group] += 1
            made += 1
        time.sleep(max(0.01, 1 / ops))
        if time.monotonic() - ticked > 1:
            ring.tick()
            ring.sample(time.monotonic_ns(), "collective", "train.py:10 step", 50)
            ticked = time.monotonic()


def service() -> None:
    """Be a service that acknowledges everything; tell the number of requests and bytes for each line of input."""
    totals = [0, 0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            self.rfile.read(size)
            totals[0] += 1
            totals[1] += size
            answer = json.dumps({"durable": int(self.headers["Offbeat-Batch"].rsplit("/", 1)[1])}).encode()
            self.send_response(202)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for _ in sys.stdin:
        print(*totals, flush=True)


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start this file in another role."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(process: subprocess.Popen[str]) -> list[int]:
    """Return what the service counted."""
    process.stdin.write("?\n")
    process.stdin.flush()
    return [int(number) for number in process.stdout.readline().split()]


def usage(pid: int) -> tuple[float, int, float]:
    """Return processor seconds, bytes written to disk and anonymous MiB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    rss = int(status["RssAnon"].split()[0]) / 1024
    return (int(fields[11]) + int(fields[12])) / TICKS, int(io["write_bytes"]), rss


def measure(options: argparse.Namespace, directory: str) -> None:
    """Run ranks, service and agent; print what the agent cost."""
    rings = Path(directory) / "rings"
    rings.mkdir()
    started = []
    try:
        server = start("service")
        started.append(server)
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        ranks = [
            start("rank", rings, number, options.ranks, options.ops, options.threads) for number in range(options.ranks)
        ]
        started += ranks
        ports = [process.stdout.readline() for process in ranks]
        for number, process in enumerate(ranks):
            process.stdin.write(ports[(number + 1) % options.ranks])
            process.stdin.flush()
        flags = [
            "--url",
            url,
            "--host",
            "bench",
            "--ring-dir",
            str(rings),
            "--spool-dir",
            str(Path(directory) / "spool"),
        ]
        command = [sys.executable, "-m", "offbeat.cli.main", "agent", *flags]
        environment = {
            **os.environ,
            "OFFBEAT_DETAIL": options.detail,
            "OFFBEAT_WINDOW_BYTES": str(32 << 20 if options.detail == "reduced" else 0),
            "OPENBLAS_NUM_THREADS": "1",  # as in the unit file
            "OMP_NUM_THREADS": "1",
        }
        agent = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
        started.append(agent)
        while ask(server)[0] == 0:
            time.sleep(0.05)
        time.sleep(WARM_UP_SECONDS)
        (cpu, disk, _), (requests, sent), begun = usage(agent.pid), ask(server), time.monotonic()
        time.sleep(options.seconds)
        seconds = time.monotonic() - begun
        (cpu2, disk2, rss), (requests2, sent2) = usage(agent.pid), ask(server)
        agent.terminate()
        agent.wait()
    finally:
        for process in started:
            process.kill()
            process.wait()
    per_second = (cpu2 - cpu) / seconds
    result = {
        "detail": options.detail,
        "ranks": options.ranks,
        "operations_per_rank_second": options.ops,
        "threads_per_rank": options.threads,
        "cpu_seconds_per_second": round(per_second, 4),
        "bytes_per_rank_second": round((sent2 - sent) / seconds / options.ranks),
        "requests_per_second": round((requests2 - requests) / seconds, 2),
        "disk_bytes_per_second": round((disk2 - disk) / seconds),
        "anonymous_mib": round(rss),
    }
    print(json.dumps(result, indent=1))


def main() -> None:
    """Measure, or be one of the processes that are needed for it."""
    if sys.argv[1:2] == ["rank"]:
        directory, *numbers = sys.argv[2:]
        rank(directory, *map(int, numbers))
        return
    if sys.argv[1:2] == ["service"]:
        service()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--ops", type=int, default=1000)
    parser.add_argument("--detail", choices=["raw", "reduced"], default="reduced")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20)
    with tempfile.TemporaryDirectory() as directory:
        measure(parser.parse_args(), directory)


if __name__ == "__main__":
    main()
