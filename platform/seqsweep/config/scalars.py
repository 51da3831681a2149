"""YAML 1.2 core scalars: `1e-4` is a number, `on`, `no` and `12:30` are text, `0o17` is octal."""

from __future__ import annotations

import math
import re

_CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None,
              "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NOT_A_NUMBER = re.compile(r"\.(nan|NaN|NAN)")
_MOST_DIGITS = 400

Scalar = bool | int | float | str


def read_scalar(text: str) -> Scalar | None:
    """Give an unquoted scalar its value. Raises ValueError for a number that 64 bits do not hold."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text, 10)
    if _OCTAL.fullmatch(text):
        return _integer(text[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return _integer(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return _float(text)
    if match := _INFINITE.fullmatch(text):
        return -math.inf if match[1] == "-" else math.inf
    return math.nan if _NOT_A_NUMBER.fullmatch(text) else text


def _integer(digits: str, base: int) -> int:
    if len(digits) <= _MOST_DIGITS and -2**63 <= (number := int(digits, base)) < 2**63:
        return number
    raise ValueError("a whole number beyond 64 bits")


def _float(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError("a number beyond 1.8e308")
    return number
