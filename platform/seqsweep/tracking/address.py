"""MLflow's address: what of it may be shown, and whether anything is there; asked without MLflow, which takes a second.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from seqsweep.errors import NotFound, Outage, Problem, Unavailable

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_PASSWORD = re.compile(r"(\w://[^:/@\s]*):[^/\s]*@")
_SECRET = re.compile(r"([?&](?:password|passwd|token|api_?key|secret)=)[^&#\s']+", re.IGNORECASE)


def masked(text: str) -> str:
    """The text with every password of a URL in it replaced by `***`."""
    return _SECRET.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def sqlite_file(uri: str) -> str:
    """The file of an SQLite URL; empty for all others."""
    return uri.partition(":///")[2].partition("?")[0] if uri.startswith("sqlite") else ""


def require_database(uri: str) -> None:
    """Raise NotFound where the address is a file that is not there."""
    if (database := sqlite_file(uri)) and not Path(database).exists():
        raise NotFound(Problem(database, "there is no MLflow database here, so no registered model",
                               "`seqsweep submit` makes one in the working folder; MLFLOW_TRACKING_URI names another"))


def require_listener(uri: str) -> None:
    """A first knock of at most 5 seconds: MLflow itself would retry a dead database for minutes."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:  # it may quote a part of the password
        raise Unavailable(Problem("MLFLOW_TRACKING_URI", "this is not a URL that can be read",
                                  "http://user:password@host:port or sqlite:///mlflow.db "
                                  "(@ : / in a password as %40 %3A %2F)")) from None
    scheme = parts.scheme.partition("+")[0]
    if not host or scheme not in _PORTS:
        return
    try:
        socket.create_connection((host, port or _PORTS[scheme]), timeout=5.0).close()
    except OSError as error:
        raise no_answer(uri, str(error)) from error


def no_answer(uri: str, said: str) -> Outage:
    """The error that tells of an MLflow that may answer later."""
    return Outage(Problem(masked(uri), f"MLflow does not answer: {masked(said)}",
                          "Is MLFLOW_TRACKING_URI right, and is the server running?"))
