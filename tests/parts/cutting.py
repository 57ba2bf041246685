"""A line that breaks: forwards to a server, and cuts every connection after so many bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Line:
    """after: bytes in one direction that a connection lives for, 0: for ever; cuts: how often it broke; bytes: what went up."""

    port: int
    after: int = 0
    cuts: int = 0
    up: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextlib.contextmanager
def cutting(url: str, after: int) -> Iterator[tuple[str, Line]]:
    """(the line's url, the line) to the server at `url`."""
    host, port = url.removeprefix("http://").split(":")
    server = socket.create_server(("127.0.0.1", 0))
    line = Line(server.getsockname()[1], after)

    def pump(source: socket.socket, target: socket.socket, up: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 14):
                passed += len(data)
                with line.lock:
                    line.up += len(data) if up else 0
                    if line.after and passed > line.after:
                        line.cuts += 1
                        break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                inner = socket.create_connection((host, int(port)))
                threading.Thread(target=pump, args=(client, inner, True), daemon=True).start()
                threading.Thread(target=pump, args=(inner, client, False), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{line.port}", line
    finally:
        server.close()
