"""An RAS server of our own: speaks the text protocol of NCCL's RAS on a real port."""

import socketserver
import threading


class RasServer:
    """Answers STATUS with `report`; MONITOR keeps a connection open for `tell`."""

    def __init__(self, report="{}", monitor=True):
        self.report = report
        self.monitor = monitor
        self.said = []
        self._watchers = []
        self._over = threading.Event()
        owner = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                for line in self.rfile:
                    command = line.decode().strip().upper()
                    owner.said.append(command)
                    if command.startswith("CLIENT PROTOCOL"):
                        self.wfile.write(b"SERVER PROTOCOL 2\n")
                    elif command.startswith(("TIMEOUT", "SET FORMAT")):
                        self.wfile.write(b"OK\n")
                    elif command.endswith("STATUS"):
                        self.wfile.write(owner.report.encode())
                        return
                    elif command.startswith("MONITOR") and owner.monitor:
                        self.wfile.write(b"OK\n")
                        owner._watchers.append(self.wfile)
                        owner._over.wait(60)
                        return
                    else:
                        self.wfile.write(b"ERROR: unknown command\n")
                        return

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def watched(self):
        """Say whether somebody follows the monitor."""
        return bool(self._watchers)

    def tell(self, text):
        """Send *text* to all who follow the monitor."""
        for watcher in self._watchers:
            watcher.write(text.encode())
            watcher.flush()

    def close(self):
        """Stop."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
