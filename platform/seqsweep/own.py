"""Runs a user's own code: the text of a file becomes a module, and a class or function is taken from it.

Nothing is unpickled, nothing is read from a disk: the text came with the sweep, a worker's trial, or a model package.
Traces show the file's name and lines as if Python had read it.
"""

from __future__ import annotations

import hashlib
import linecache
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from seqsweep.config.own import Own
from seqsweep.errors import InvalidSweep, Problem, SeqsweepError

_running = threading.RLock()


def load(own: Own) -> Any:
    """Return the class or function of this text; the same text is run once a process.

    Raises InvalidSweep where running the file fails, with the line; where it has no such class or function.
    """
    with _running:
        module = _module(own)
    try:
        return getattr(module, own.name)
    except AttributeError:
        raise InvalidSweep(Problem(own.file, f"once it has run, there is no {own.name} in it",
                                   "a class or function that stays")) from None


def _module(own: Own) -> types.ModuleType:
    name = f"seqsweep_own_{hashlib.sha256(f'{own.file}/{own.sha256}'.encode()).hexdigest()[:32]}"
    if name in sys.modules:
        return sys.modules[name]
    shown = own.file
    lines = own.code.splitlines(keepends=True)
    if linecache.cache.get(shown, (0, None, lines, ""))[2:3] != (lines,):  # another version of it is in this process
        shown = _other_name(own)
    linecache.cache[shown] = (len(own.code), None, lines, shown)
    module = types.ModuleType(name)
    module.__file__ = shown
    sys.modules[name] = module  # before it runs: its dataclasses look for their own module there
    try:
        exec(compile(own.code, shown, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - what it is for
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InvalidSweep(Problem(place_of(own, error), f"running it failed with {type(error).__name__}: {error}",
                                   "code that can be imported on every machine of the sweep")) from error
    except BaseException:
        del sys.modules[name]
        raise
    return module


def place_of(own: Own, error: BaseException) -> str:
    """`mymodels.py:12`: the deepest line of the user's file that an exception came through; the file where none is."""
    line, trace = error.lineno if isinstance(error, SyntaxError) else 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in (own.file, _other_name(own)):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{own.file}:{line}" if line else own.file


@contextmanager
def told(own: Own, what: str) -> Iterator[None]:
    """Turn an exception of the user's code into an InvalidSweep that says where: for where no trace is shown."""
    try:
        yield
    except SeqsweepError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidSweep(Problem(place_of(own, error), f"{what} failed with {type(error).__name__}: {error}")
                           ) from error


def _other_name(own: Own) -> str:
    """What traces call the file where another version of it has run in this process."""
    return f"{own.file} ({own.sha256[:12]})"
