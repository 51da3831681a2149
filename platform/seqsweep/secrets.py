"""Secrets: written as `${env:NAME}`, looked up in the environment, held in memory alone, and shown nowhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_PASSWORD = re.compile(r"://[^/@:\s]*:([^/@\s]+)@")
_IN_QUERY = re.compile(r"[?&](?:password|passwd|token|api_?key|secret)=([^&#\s]+)", re.IGNORECASE)
_SHORTEST = 4
"""Shorter ones are not looked for in what is shown: replaced, they would garble every other word."""
_NO_SECRETS = frozenset({"seqsweep", "postgres", "mlflow", "password"})
"""Words of messages that try-outs have as passwords, too."""
_known: set[str] = set()


def resolve(text: str, environ: Mapping[str, str]) -> str:
    """Put the environment's values in the place of references, and never show them from here on.

    A text that is one reference becomes the value as it is; inside a URL the value is escaped (`@ : /` as `%40 %3A
    %2F`). Raises KeyError with the variable's name where it is not set.
    """
    names = REFERENCE.findall(text)
    for name in names:
        if not environ.get(name):
            raise KeyError(name)
        hide(environ[name])
    if REFERENCE.fullmatch(text):
        found = environ[names[0]]
    else:
        found = REFERENCE.sub(lambda match: quote(environ[match[1]], safe=""), text)
    for secret in literals(found):
        hide(secret)
    return found


def literals(url: str) -> list[str]:
    """The passwords and tokens that stand in a URL; a reference to the environment is none."""
    plain = REFERENCE.sub("", url)
    return [*_PASSWORD.findall(plain), *_IN_QUERY.findall(plain)]


def hide(secret: str) -> None:
    """Let `shown` replace this text, however it is escaped, in all that is said from here on."""
    _known.update(form for form in (secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1])
                  if len(form) >= _SHORTEST and form not in _NO_SECRETS)


def shown(text: str) -> str:
    """The text with `***` in the place of every secret known in this process."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
