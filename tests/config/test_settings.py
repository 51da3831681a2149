"""Where things are: the environment before seqsweep.toml before the defaults; relative SQLite paths become absolute."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqsweep.config.settings import Settings, load_settings
from seqsweep.errors import InvalidSettings


def test_defaults_lie_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("SEQSWEEP_STORE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(variable, raising=False)
    assert load_settings() == Settings(f"sqlite:///{tmp_path}/seqsweep.db", f"sqlite:///{tmp_path}/mlflow.db", "local")


def test_the_environment_goes_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "seqsweep.toml").write_text('store = "sqlite:///runs/a.db"\nray_address = "auto"\n')
    found = load_settings(tmp_path, {"RAY_ADDRESS": "10.0.0.1:6379", "MLFLOW_TRACKING_URI": ""})
    assert found == Settings(f"sqlite:///{tmp_path}/runs/a.db", f"sqlite:///{tmp_path}/mlflow.db", "10.0.0.1:6379")


@pytest.mark.parametrize(("url", "expected"), [
    ("sqlite:///a.db", "sqlite:///{0}/a.db"), ("sqlite:////abs/a.db", "sqlite:////abs/a.db"),
    ("sqlite:///a.db?timeout=3", "sqlite:///{0}/a.db?timeout=3"), ("sqlite:///:memory:", "sqlite:///:memory:"),
    ("sqlite+pysqlite:///b/a.db", "sqlite+pysqlite:///{0}/b/a.db"), ("sqlite:///../a.db", "sqlite:///{0}/../a.db"),
    ("postgresql://u:p@h/db", "postgresql://u:p@h/db"), ("postgresql+psycopg://h/db", "postgresql+psycopg://h/db"),
])
def test_store_urls(url: str, expected: str, tmp_path: Path) -> None:
    assert load_settings(tmp_path, {"SEQSWEEP_STORE": url}).store == expected.format(tmp_path)


@pytest.mark.parametrize("uri", ["http://mlflow:5000", "postgresql://h/db", "databricks"])
def test_other_tracking_uris_stay_as_they_are(uri: str, tmp_path: Path) -> None:
    assert load_settings(tmp_path, {"MLFLOW_TRACKING_URI": uri}).tracking_uri == uri


@pytest.mark.parametrize(("text", "where", "what", "right"), [
    ('# x\nstor = "sqlite:///a.db"\n', "seqsweep.toml:2", "stor", "did you mean store?"),
    ('store = "sqlite:///a.db"\n\nray_address = 3\n', "seqsweep.toml:3", "cannot be 3", "a text"),
    ("[store]\npath = 1\n", "seqsweep.toml:1", "cannot be a mapping", "a text"),
    ('store = ""\n', "seqsweep.toml:1", "cannot be", "not empty"),
    ("store = \n", "seqsweep.toml", "cannot be read", "TOML"),
    ('store = "mysql://h/db"\n', "seqsweep.toml, store", "not the URL", "postgresql://"),
    ('store = "seqsweep.db"\n', "seqsweep.toml, store", "not the URL", "sqlite:///"),
])
def test_what_is_wrong_is_named_with_its_place(text: str, where: str, what: str, right: str, tmp_path: Path) -> None:
    (tmp_path / "seqsweep.toml").write_text(text)
    with pytest.raises(InvalidSettings) as caught:
        load_settings(tmp_path, {})
    problem, = caught.value.problems
    assert problem.where == where and what in problem.what and right in problem.right


def test_a_wrong_variable_is_named_and_its_password_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load_settings(tmp_path, {"SEQSWEEP_STORE": "postgres://me:secret@host/db"})
    assert caught.value.problems[0].where == "SEQSWEEP_STORE" and "secret" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "seqsweep.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match="cannot be read"):
        load_settings(tmp_path, {})


# -- secrets

PASSWORD = "c4n@ry/w:rd%21"
ESCAPED = "c4n%40ry%2Fw%3Ard%2521"


@pytest.mark.parametrize(("written", "resolved"), [
    ("postgresql://me:${env:STORE_PASSWORD}@host/db", f"postgresql://me:{ESCAPED}@host/db"),
    ("postgresql://host/db?password=${env:STORE_PASSWORD}", f"postgresql://host/db?password={ESCAPED}"),
    ("${env:WHOLE}", f"postgresql://me:{ESCAPED}@host/db"),
    ("postgresql://${env:ME}:${env:STORE_PASSWORD}@host/db", f"postgresql://ada:{ESCAPED}@host/db"),
])
def test_a_reference_stands_for_a_variable_of_the_environment(written: str, resolved: str, tmp_path: Path) -> None:
    (tmp_path / "seqsweep.toml").write_text(f'store = "{written}"\n')
    environ = {"STORE_PASSWORD": PASSWORD, "ME": "ada", "WHOLE": f"postgresql://me:{ESCAPED}@host/db"}
    found = load_settings(tmp_path, environ)
    assert found.store == resolved
    assert load_settings(tmp_path, environ | {"SEQSWEEP_STORE": written}).store == resolved
    for text in (repr(found), f"{found}"):
        assert PASSWORD not in text and ESCAPED not in text
    error = InvalidSettings(f"cannot reach {resolved}: {PASSWORD} is wrong")
    for text in (str(error), repr(error)):
        assert PASSWORD not in text and ESCAPED not in text and "***" in text


@pytest.mark.parametrize(("written", "words"), [
    ("postgresql://me:${env:NO_SUCH_VARIABLE}@host/db", "the environment variable NO_SUCH_VARIABLE is not set"),
    ("postgresql://me:${env:EMPTY}@host/db", "the environment variable EMPTY is not set"),
    ("postgresql://me:${STORE_PASSWORD}@host/db", "password stands in store"),
    ("postgresql://${env}@host/db", "no reference"), ("${env:1X}", "no reference"), ("${env: X}", "no reference"),
])
def test_a_reference_to_nothing_is_refused(written: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "seqsweep.toml").write_text(f'store = "{written}"\n')
    with pytest.raises(InvalidSettings, match=words):
        load_settings(tmp_path, {"EMPTY": ""})


@pytest.mark.parametrize("line", [
    'store = "postgresql://me:pa55word@host/db"', 'tracking_uri = "http://me:pa55word@host:5000"',
    'store = "postgresql://host/db?user=me&password=pa55word"', 'tracking_uri = "http://host/?token=pa55word"',
    'store = "postgresql://me:${env:HALF}pa55word@host/db"'])
def test_a_password_in_the_file_is_refused_and_not_shown(line: str, tmp_path: Path) -> None:
    (tmp_path / "seqsweep.toml").write_text(f"# places\n{line}\n")
    with pytest.raises(InvalidSettings, match="a password stands in") as caught:
        load_settings(tmp_path, {"HALF": "x"})
    problem, = caught.value.problems
    assert problem.where == "seqsweep.toml:2" and "${env:NAME}" in problem.right
    assert "pa55word" not in str(caught.value)
