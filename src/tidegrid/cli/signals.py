"""Ctrl-C that waits for a short request to end: a submission is then known to be in, or known not to be."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deferred() -> Iterator[None]:
    """Hold back SIGINT inside; it is delivered at the end. A second one is delivered at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending = 0

    def remember(number: int, frame: object) -> None:
        nonlocal pending
        pending += 1
        if pending > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pending:
        raise KeyboardInterrupt
