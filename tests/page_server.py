"""A real HTTP server whose pages a test sets."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class PageServer:
    """Answers every request with `pages[path]`, or 404; keeps what was asked."""

    def __init__(self, pages=None, cls=ThreadingHTTPServer, address=("127.0.0.1", 0)):
        self.pages = dict(pages or {})
        self.asked = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.asked.append((self.command, self.path))
                body = owner.pages.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            do_POST = do_GET  # noqa: N815 - the base class looks methods up by this name

            def log_message(self, *_):
                """Say nothing."""

        self._server = cls(address, Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self):
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
