"""Ctrl-C once ends a sweep tidily, twice at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
"""The last one comes when a terminal is closed."""


def leave_at_once() -> None:
    """Let Ctrl-C end the process with exit code 130 from here on, until a verb has something to leave tidily.

    Raised inside an import, KeyboardInterrupt may be swallowed by the library or come out as another error.
    """
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))


def raise_again() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, so that what was opened is closed; in an import it ends at once."""
    signal.signal(signal.SIGINT, _raise_outside_imports)


def _raise_outside_imports(number: int, frame: FrameType | None) -> None:
    inner = frame
    while inner is not None:
        if inner.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(130)  # a C++ module that starts, torch's for one, aborts the process on an exception
        inner = inner.f_back
    signal.default_int_handler(number, frame)


@contextmanager
def interruptible(name: str) -> Iterator[threading.Event]:
    """Give an event that the first SIGINT, SIGTERM or SIGHUP sets; the second ends the process with exit code 130.

    A thread of its own hears them, since the main thread may be busy outside Python, where two signals become one.
    """
    stop = threading.Event()
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)  # as set_wakeup_fd demands
    listener = threading.Thread(target=_listen, args=(ear, stop, name), name="interrupts", daemon=True)
    handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS
                if signal.getsignal(number) is not signal.SIG_IGN}  # as nohup has it
    wakeup = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    listener.start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        mouth.close()
        listener.join()
        ear.close()


def _listen(ear: socket.socket, stop: threading.Event, name: str) -> None:
    from seqsweep.cli.output import err

    interrupts = 0
    while number := ear.recv(1):
        interrupts += number[0] in _SIGNALS
        if interrupts > 1:
            err.print(f"\nstopped at once; `seqsweep resume {name}` goes on from the last checkpoints")
            os._exit(130)
        elif interrupts and not stop.is_set():
            err.print("\nstopping: the epochs in hand are finished and saved; Ctrl-C again stops at once")
            stop.set()
