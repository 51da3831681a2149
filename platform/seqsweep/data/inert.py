"""Reads a table out of a pickled pandas DataFrame without unpickling it: nothing is imported and nothing is called.

Some packages ship their tables as pickles only. The stream's opcodes are walked with `pickletools` and every call in it
becomes an inert `Made` record; the arrays are then taken from the records that a DataFrame consists of. Whatever else a
stream asks for is refused.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

_MARK = object()
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
             "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_SKIPPED = {"PROTO", "FRAME"}


@dataclass(eq=False)
class Made:
    """What a stream would have called: a name, its arguments, and the state set afterwards."""

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None


class Unreadable(ValueError):
    """The stream holds something else than a plain table."""


def read_inert_frame(stream: bytes) -> pd.DataFrame:
    """Read a DataFrame of numbers and text from a pickle stream. Raises Unreadable."""
    try:
        return _frame(_walk(stream))
    except Unreadable:
        raise
    except Exception as error:  # a stream may be malformed in any way, and only one answer is right
        raise Unreadable(f"not a table this reader knows ({type(error).__name__}: {error})") from error


def _walk(stream: bytes) -> Any:
    """Run the opcodes on a stack of inert values; returns what is on top at the end."""
    stack: list[Any] = []
    memo: list[Any] = []
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MEMOIZE":
            memo.append(stack[-1])
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        elif name == "STOP":
            return stack.pop()
        elif name not in _SKIPPED:
            _build(name, stack)
    raise Unreadable("the stream ends early")


def _build(name: str, stack: list[Any]) -> None:
    """Apply an opcode that puts values together."""
    if name == "MARK":
        stack.append(_MARK)
    elif name == "EMPTY_DICT":
        stack.append({})
    elif name == "EMPTY_LIST":
        stack.append([])
    elif name in _TUPLES:
        count = _TUPLES[name]
        stack[len(stack) - count:] = [tuple(stack[len(stack) - count:])]
    elif name == "TUPLE":
        stack.append(tuple(_to_mark(stack)))
    elif name == "APPENDS":
        items = _to_mark(stack)
        stack[-1].extend(items)
    elif name == "APPEND":
        item = stack.pop()
        stack[-1].append(item)
    elif name in ("SETITEM", "SETITEMS"):
        items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else _to_mark(stack)
        stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name == "STACK_GLOBAL":
        attribute, module = stack.pop(), stack.pop()
        stack.append(Made(f"{module}.{attribute}"))
    elif name in ("REDUCE", "NEWOBJ"):
        args, function = stack.pop(), stack.pop()
        stack.append(Made(function.name, args))
    elif name == "BUILD":
        state = stack.pop()
        stack[-1].state = state
    else:
        raise Unreadable(f"it uses the opcode {name}")


def _to_mark(stack: list[Any]) -> list[Any]:
    """Pop everything above the last mark, and the mark."""
    at = len(stack) - 1
    while stack[at] is not _MARK:
        at -= 1
    items = stack[at + 1:]
    del stack[at:]
    return items


def _frame(made: Any) -> pd.DataFrame:
    """Put a DataFrame together from its blocks."""
    manager = made.state["_mgr"]
    if made.name != "pandas.core.frame.DataFrame" or not manager.name.endswith(".BlockManager"):
        raise Unreadable(f"it holds {made.name}, not a DataFrame")
    blocks, axes = manager.args[:2]
    names = [str(name) for name in _array(axes[0].args[1]["data"]).tolist()]
    columns: dict[int, npt.NDArray[Any]] = {}
    for block in blocks:
        values, placement = _array(block.args[0]), _placement(block.args[1])
        columns |= dict(zip(placement, values, strict=True))
    return pd.DataFrame({name: columns[i] for i, name in enumerate(names)})


def _placement(made: Any) -> list[int]:
    """Tell which columns a block holds."""
    if made.name == "builtins.slice":
        return list(range(*made.args))
    return [int(i) for i in _array(made).tolist()]


def _dtype(made: Made) -> np.dtype[Any]:
    """Read a plain dtype with its byte order."""
    code = str(made.args[0])
    if made.name != "numpy.dtype" or code[0] not in "iufbO":
        raise Unreadable(f"it holds an array of {code}")
    order = made.state[1] if made.state else "|"
    return np.dtype(order + code if order in "<>" else code)


def _array(made: Any) -> npt.NDArray[Any]:
    """Read an array from its bytes, or an array of text from its list."""
    if made.name.endswith("._frombuffer"):
        buffer, dtype, shape, order = made.args
        return np.frombuffer(bytes(buffer), _dtype(dtype)).reshape(shape, order=order)
    if not made.name.endswith(".multiarray._reconstruct"):
        raise Unreadable(f"it holds {made.name}")
    _, shape, dtype_made, fortran, content = made.state
    dtype = _dtype(dtype_made)
    if dtype.kind == "O":
        if not all(item is None or isinstance(item, (str, int, float, bool)) for item in content):
            raise Unreadable("it holds objects")
        flat = np.empty(len(content), dtype=object)
        flat[:] = content
    else:
        flat = np.frombuffer(bytes(content), dtype)
    return flat.reshape(shape, order="F" if fortran else "C")
