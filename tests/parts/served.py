"""An application behind a real socket, in a thread: what the SDK and the command line talk to in tests."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import uvicorn

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # a line a request is too much


class _Quick(uvicorn.Server):
    async def main_loop(self) -> None:
        while not self.should_exit:
            await asyncio.sleep(0.005)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def quick_server(config: uvicorn.Config) -> uvicorn.Server:
    """A server that notices at once that it shall end, and leaves signals alone."""
    return _Quick(config)


def listening(port: int = 0) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


@contextmanager
def served(app: Any, port: int = 0) -> Iterator[str]:
    """The URL under which `app` answers while the context is open."""
    with listening(port) as sock:
        server = quick_server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([sock],), daemon=True)
        thread.start()
        end = time.monotonic() + 10
        while not server.started:
            if time.monotonic() > end or not thread.is_alive():
                raise RuntimeError("the server did not start")
            time.sleep(0.005)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)
