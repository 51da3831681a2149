"""Where things are kept and run; never in the sweep, so that one YAML runs on a laptop and on a cluster alike."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqsweep.config.problems import shown, suggestion
from seqsweep.errors import InvalidSettings, Problem
from seqsweep.secrets import REFERENCE, hide, literals, resolve
from seqsweep.secrets import shown as shown_safely

FILE = "seqsweep.toml"
VARIABLES = {"store": "SEQSWEEP_STORE", "tracking_uri": "MLFLOW_TRACKING_URI", "ray_address": "RAY_ADDRESS"}
"""Key of seqsweep.toml -> environment variable, which goes before it."""
SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD", "RAY_AUTH_TOKEN")
"""Read by MLflow, PostgreSQL and Ray themselves; never shown."""
_DEFAULTS = {"store": "sqlite:///seqsweep.db", "tracking_uri": "sqlite:///mlflow.db", "ray_address": "local"}
_STORES = ("sqlite", "postgresql")
_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/)([^?#]+)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Settings:
    """The places of one working folder."""

    store: str
    """Database of sweeps and trials, as an SQLAlchemy URL."""
    tracking_uri: str
    """MLflow's tracking server or database."""
    ray_address: str
    """`local`: a Ray of this process's own; else the address of a running cluster."""

    def __repr__(self) -> str:
        fields = ", ".join(f"{key}={value!r}" for key, value in vars(self).items())
        return shown_safely(f"Settings({fields})")


def load_settings(folder: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the environment, then `seqsweep.toml` of the working folder, then the defaults.

    `${env:NAME}` in a value stands for an environment variable, so that no file holds a secret. Relative SQLite paths
    are taken from the working folder and made absolute. Raises InvalidSettings.
    """
    folder = (folder or Path.cwd()).absolute()
    environ = os.environ if environ is None else environ
    from_file = _read(folder / FILE)
    for name in SECRET_VARIABLES:
        hide(environ.get(name, ""))
    found = {key: _resolved(environ.get(variable) or from_file.get(key) or _DEFAULTS[key],
                            variable if environ.get(variable) else f"{FILE}, {key}", environ)
             for key, variable in VARIABLES.items()}
    scheme = found["store"].partition(":")[0].partition("+")[0]
    if scheme not in _STORES or "://" not in found["store"]:
        where = VARIABLES["store"] if environ.get(VARIABLES["store"]) else f"{FILE}, store"
        raise InvalidSettings(Problem(where, "this is not the URL of a store that is known",
                                      "sqlite:///seqsweep.db or postgresql://user:password@host/database"))
    return Settings(store=_absolute(found["store"], folder), tracking_uri=_absolute(found["tracking_uri"], folder),
                    ray_address=found["ray_address"])


def _read(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
        tree = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidSettings(Problem(FILE, f"the file cannot be read: {error}", "TOML: store = \"sqlite:///x.db\"")) \
            from error
    problems = [problem for key, value in tree.items() if (problem := _problem(key, value, text))]
    if problems:
        raise InvalidSettings(*problems)
    return tree


def _problem(key: str, value: Any, text: str) -> Problem | None:
    lines = text.splitlines()
    pattern = re.compile(rf"\s*\[?\[?\s*[\"']?{re.escape(key)}[\"']?\s*[=\].]")
    line = next((number for number, line in enumerate(lines, 1) if pattern.match(line)), 1)
    if key not in VARIABLES:
        return Problem(f"{FILE}:{line}", f'unknown key "{key[:60]}"', suggestion(key, VARIABLES, "known keys"))
    if not isinstance(value, str) or not value:
        return Problem(f"{FILE}:{line}", f"{key} cannot be {shown(value)}", "a text, not empty")
    if literals(value):
        return Problem(f"{FILE}:{line}", f"a password stands in {key}, for every reader of the file",
                       "${env:NAME} in its place, such as postgresql://me:${env:STORE_PASSWORD}@host/database, "
                       "and the password in the environment variable NAME")
    return None


def _resolved(text: str, where: str, environ: Mapping[str, str]) -> str:
    if "${" in REFERENCE.sub("", text):
        raise InvalidSettings(Problem(where, "what stands after ${ is no reference", "${env:NAME}: letters, digits, _"))
    try:
        return resolve(text, environ)
    except KeyError as missing:
        raise InvalidSettings(Problem(where, f"the environment variable {missing.args[0]} is not set",
                                      f"set it before: ${{env:{missing.args[0]}}} stands for its value")) from None


def _absolute(url: str, folder: Path) -> str:
    """Make the path of a SQLite URL absolute; everything else stays as it is."""
    match = _SQLITE.fullmatch(url)
    if match is None or match[2] == ":memory:" or match[2].startswith("file:") or Path(match[2]).is_absolute():
        return url
    return f"{match[1]}{(folder / match[2]).as_posix()}{match[3]}"
