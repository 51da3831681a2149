"""A user's own code: `mymodels.py:TinyRNN`, a file beside the sweep. It is read here, and never run.

The sweep keeps the file's text: it goes to workers, the store and the model package, and is part of what the sweep is.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError, create_model
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import SchemaError

from seqsweep.config.base import Config
from seqsweep.config.problems import suggestion

ENTRY = r"^(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*\.py:[A-Za-z_][A-Za-z0-9_]*$"
Entry = Annotated[str, Field(pattern=ENTRY, max_length=200)]
"""`FILE.py:NAME`: a class or function at the top of a file that lies in the sweep's folder or below it."""
Code = SkipJsonSchema[str]
"""The file's text, which the loader fills in."""

KINDS: dict[str, tuple[str, int]] = {"model": ("class", 1), "task": ("class", 3), "metric": ("function", 2),
                                     "prepare": ("function", 1)}
"""What each section's entry is, and how many arguments it is given."""
_ARGUMENTS = {"model": "input_size", "task": "task, model, data", "metric": "y_true, y_pred", "prepare": "frame"}
_DEEPEST = 50
"""Classes that one is made from, one behind the other, before no more are looked at."""
_TYPES: Mapping[str, Any] = {"int": int, "float": float, "bool": bool, "str": str}


def is_none(value: Any) -> bool:
    """Whether a key is left out of what is stored: sweeps without it are what they were before it was known."""
    return value is None


class OwnConfig(Config):
    """A model of the user's own in place of seqsweep's."""

    entry: Entry
    """`mymodels.py:TinyRNN`: a class of a file in this YAML's folder, whose keyword arguments are the parameters."""
    code: Code = ""
    """The file's text, which the loader fills in."""

    @property
    def own(self) -> Own:
        """The class."""
        return Own(self.entry, self.code)


@dataclass(frozen=True)
class Own:
    """A class or function of a user's file."""

    entry: str
    code: str

    @property
    def file(self) -> str:
        """Path of the file, from the sweep's folder."""
        return self.entry.rpartition(":")[0]

    @property
    def name(self) -> str:
        """The class or function."""
        return self.entry.rpartition(":")[2]

    @property
    def sha256(self) -> str:
        """Of the file's text."""
        return hashlib.sha256(self.code.encode()).hexdigest()


@dataclass(frozen=True)
class Signature:
    """What can be known of a class or function without running it."""

    arguments: type[Config]
    """The keyword arguments that can be searched, each with its type, and its default where it has one."""
    others: frozenset[str]
    """Arguments that keep their default: it is no number, truth value or text, or they cannot be given by name."""
    imports: frozenset[str]
    """Top-level packages that the file imports."""


class Refusal(ValueError):
    """Why a file cannot be taken: `line`, what is wrong, and what would be right."""

    def __init__(self, line: int, what: str, right: str) -> None:
        super().__init__(what)
        self.line, self.what, self.right = line, what, right


@lru_cache(maxsize=64)
def signature_of(own: Own, section: str = "model") -> Signature:
    """Read the arguments of a class or function off the text. Raises Refusal."""
    tree = parsed(own)
    kind, given = KINDS[section]
    found = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    node = found.get(own.name)
    wanted = ast.ClassDef if kind == "class" else ast.FunctionDef
    if not isinstance(node, wanted):
        known = [name for name, each in found.items() if isinstance(each, wanted)]
        what = f"{own.name} is no {kind}" if node else f"there is no {kind} {own.name} at the top of the file"
        raise Refusal(node.lineno if node else 1, what, suggestion(own.name, known, f"{kind}es" if kind == "class" else
                                                                   "functions") or f"a {kind} {own.name}")
    function = node if isinstance(node, ast.FunctionDef) else _constructor(node, found)
    imports = frozenset(name for name, _ in imports_of(tree))
    if function is None:
        if section == "task":
            return Signature(create_model(own.name, __base__=Config), frozenset(), imports)
        raise Refusal(node.lineno, f"{own.name} has no __init__ of its own, so its parameters cannot be told",
                      "def __init__(self, input_size: int, width: int = 16)")
    return _arguments(own, section, function, given + (kind == "class"), imports)


@lru_cache(maxsize=64)
def parsed(own: Own) -> ast.Module:
    """The text as Python reads it. Raises Refusal where it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(own.code, own.file)
    except SyntaxError as error:
        raise Refusal(error.lineno or 1, f"this is no Python: {error.msg}", "code that Python "
                      f"{sys.version_info.major}.{sys.version_info.minor} can read") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Refusal(1, f"this is no Python: {error}", "code that Python can read") from None


def _constructor(node: ast.ClassDef, found: Mapping[str, ast.ClassDef | ast.FunctionDef], depth: int = 0
                 ) -> ast.FunctionDef | None:
    """Its `__init__`, or that of a class of the same file that it is made from."""
    if depth > _DEEPEST:
        return None
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            return each
    for base in node.bases:
        above = found.get(base.id) if isinstance(base, ast.Name) else None
        if isinstance(above, ast.ClassDef) and (init := _constructor(above, found, depth + 1)):
            return init
    return None


def _arguments(own: Own, section: str, function: ast.FunctionDef, given: int, imports: frozenset[str]) -> Signature:
    """Sort the arguments into those that are given by seqsweep, those that are searched, and others."""
    args = function.args
    shape = f"{own.name}({_ARGUMENTS[section]})"
    places = [*args.posonlyargs, *args.args]
    if len(places) < given and args.vararg is None:
        raise Refusal(function.lineno, f"{own.name} takes too few arguments: it is called {shape}", f"{shape}, in this "
                      "order, whatever they are called")
    defaults: list[ast.expr | None] = [None] * (len(places) - len(args.defaults)) + list(args.defaults)
    pairs = [*zip(places[given:], defaults[given:], strict=True),
             *zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    unnamed = {argument.arg for argument in args.posonlyargs}
    fields: dict[str, Any] = {}
    others = set()
    for argument, default in pairs:
        value = _literal(default)
        kind = _type(argument.annotation, value)
        if section in ("metric", "prepare") or argument.arg.startswith("_") or argument.arg in unnamed:
            kind = None
        if kind is None and default is None:
            raise Refusal(argument.lineno, f"{own.name} needs {argument.arg}, which seqsweep does not give",
                          f"{shape}; others with a default" + (", or with a type: int, float, bool, str or Literal[...]"
                                                               if section in ("model", "task") else ""))
        if kind is None or (default is not None and value is None):
            others.add(argument.arg)
            continue
        if argument.arg.startswith("model_") and hasattr(Config, argument.arg):
            raise Refusal(argument.lineno, f"an argument of {own.name} that is searched cannot be called "
                          f"{argument.arg}: pydantic has it for its own", f"another name for {argument.arg}")
        fields[argument.arg] = (kind, ... if default is None else value)
        if default is not None and not _accepts(kind, value):
            raise Refusal(argument.lineno, f"{argument.arg} is no {ast.unparse(argument.annotation or argument)} where "
                          f"nothing is said: {value!r}", "a default of the type that is named")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a parameter may be called like a method of pydantic's
        try:
            return Signature(create_model(own.name, __base__=Config, **fields), frozenset(others), imports)
        except (TypeError, NameError, SchemaError, PydanticUserError) as error:
            raise Refusal(function.lineno, f"the arguments of {own.name} cannot be searched: {error}",
                          "other names for them") from None


def _accepts(kind: Any, value: Any) -> bool:
    try:
        TypeAdapter(kind, config=ConfigDict(strict=True)).validate_python(value)
    except (ValidationError, SchemaError):
        return False
    return True


def _literal(node: ast.expr | None) -> Any:
    """A default that is a number, a truth value or a text; None for anything else."""
    try:
        value = None if node is None else ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, bool | int | float | str) else None


def _type(annotation: ast.expr | None, default: Any) -> Any:
    """int, float, bool, str or a Literal, by the annotation or else by the default; None for anything else."""
    if annotation is None:
        return None if default is None else type(default)
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return None
    if isinstance(annotation, ast.Name):
        return _TYPES.get(annotation.id)
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) in ("Literal", "typing.Literal"):
        inside = annotation.slice
        words = [_literal(each) for each in (inside.elts if isinstance(inside, ast.Tuple) else [inside])]
        return Literal[tuple(words)] if words and all(isinstance(word, str) for word in words) else None
    return None


def imports_of(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Top-level package and line of every import; "" for one that is relative."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield ("" if node.level else str(node.module).partition(".")[0]), node.lineno
