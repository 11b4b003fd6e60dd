"""A service that only takes telemetry, over real sockets, and fails the way a test tells it to."""

import json
import socket
import socketserver
import struct
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from offbeat import wire

RESET = "reset"
"""Close the connection hard, without an answer."""


class TelemetryService:
    """Keeps what it was sent by incarnation and number; `fault` may answer in its place.

    `fault(n, key)` is called for the n-th request (from 1); it returns None to go on, `RESET`, or (status, headers,
    body); it may sleep.
    """

    def __init__(self, unix_path=None, token=None):
        self.fault = lambda _n, _key: None
        self.token = token
        self.batches = defaultdict(dict)
        self.keys = []
        self.skipped = defaultdict(set)
        self.requests = 0
        self._lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                service.answer(self)

            def log_message(self, *_):
                pass

            def address_string(self):
                return "client"

        self._server = (
            _UnixServer(str(unix_path), Handler) if unix_path else ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        )
        self._server.daemon_threads = True
        self.url = f"unix://{unix_path}" if unix_path else f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def answer(self, handler):
        """Deal with one request."""
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        host, incarnation, n = handler.headers["Offbeat-Batch"].split("/")
        key = (int(incarnation), int(n))
        with self._lock:
            self.requests += 1
            number = self.requests
        with self._lock:
            gap = int(handler.headers.get("Offbeat-Gap", 0))
            self.skipped[key[0]].update(range(key[1] - gap, key[1]))
        said = self.fault(number, key)
        if said is None and self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            said = (401, {}, {"title": "Unauthorized", "detail": "no such token"})
        if said is None:
            said = self._take(host, key, body)
        if said == RESET:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.close_connection = True
            handler.connection.close()
            return
        status, headers, value = said
        text = json.dumps(value).encode()
        handler.send_response(status)
        for name, content in {"Content-Type": "application/json", "Content-Length": len(text), **headers}.items():
            handler.send_header(name, str(content))
        handler.end_headers()
        handler.wfile.write(text)

    def _take(self, host, key, body):
        incarnation, n = key
        try:
            tables, _ = wire.decode(body)
        except wire.WireError as error:
            return 400, {}, {"detail": str(error)}
        with self._lock:
            self.keys.append((host, *key))
            self.batches[incarnation].setdefault(n, tables)
            return 202, {}, {"durable": self.durable(incarnation)}

    def durable(self, incarnation):
        """Return the largest n up to which everything has arrived."""
        n = 0
        while n + 1 in self.batches[incarnation] or n + 1 in self.skipped[incarnation]:
            n += 1
        return n

    def rows(self, table):
        """Return all rows of *table*, in the order of the batches."""
        with self._lock:
            batches = [tables for _, numbered in sorted(self.batches.items()) for _, tables in sorted(numbered.items())]
        return [row for tables in batches if table in tables for row in tables[table].to_pylist()]

    def close(self):
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass


def slow(seconds):
    """Return a fault that delays every answer."""

    def fault(_n, _key):
        time.sleep(seconds)

    return fault
