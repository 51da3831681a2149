"""The package: what it holds, what it refuses, and that it predicts the same here, in MLflow and behind HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from mlflow import MlflowClient
from winners import Trained, loaded, train

from seqsweep.errors import InvalidData, Refused
from seqsweep.tracking.package import build_package, load_package
from seqsweep.tracking.packaged import Package
from seqsweep.tracking.registry import Registry
from seqsweep.training.predict import predict_together


def new_rows(frame: pd.DataFrame, target: str | None = None, future: int = 6) -> pd.DataFrame:
    """The frame's end, with the last rows of each series still to come."""
    last = frame.groupby("id", sort=False).tail(60).reset_index(drop=True)
    if target:
        last.loc[last.groupby("id").cumcount(ascending=False) < future, target] = np.nan
    return last


@pytest.fixture(scope="module")
def forecaster(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("data"), "forecasting")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("data"), "classification")


@pytest.fixture(scope="module")
def folder(forecaster: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    example = new_rows(forecaster.frame, "load")
    return build_package(tmp_path_factory.mktemp("package") / "model", forecaster.package, example)


def numbers(table: pd.DataFrame) -> Any:
    return table[["q0.1", "q0.5", "q0.9"]].to_numpy(dtype=float)


def test_a_package_is_read_as_it_was_written(forecaster: Trained, tmp_path: Path) -> None:
    package = forecaster.package
    package.write(tmp_path)
    again = Package.read(tmp_path)
    assert again.facts == package.facts
    for part, keys in package.row_keys.items():
        np.testing.assert_array_equal(again.row_keys[part], keys)
        assert again.row_keys[part].dtype == np.uint64
    for part in ("val", "test"):
        np.testing.assert_array_equal(predict_together(again.members, forecaster.prepared, part),
                                      predict_together(package.members, forecaster.prepared, part))


def test_a_package_says_what_is_the_day_only_where_its_times_have_slashes(forecaster: Trained, tmp_path: Path) -> None:
    """So that all others are what they were before that was known."""
    forecaster.package.write(tmp_path)
    assert "dates" not in (tmp_path / "package.json").read_text()
    frame = forecaster.frame.assign(ds=forecaster.frame["ds"].dt.strftime("%m/%d/%Y %I:%M %p"))
    path = str(tmp_path / "forecasting.csv")
    slashed = train(tmp_path, "forecasting", frame, data={"path": path, "time": "ds", "series": "id",
                                                          "dates": "month_first"}).package
    slashed.write(tmp_path)
    again = Package.read(tmp_path)
    assert [info.dates for info in again.facts.infos] == ["month_first"]
    rows = new_rows(forecaster.frame, "load")
    written = rows.assign(ds=rows["ds"].dt.strftime("%m/%d/%Y %I:%M %p"))
    pd.testing.assert_frame_equal(again.predict(written), slashed.predict(rows))


def test_a_package_of_format_1_predicts_as_ever(forecaster: Trained, tmp_path: Path) -> None:
    """As it was before there were members: one trial's facts and weights stood for themselves."""
    package = forecaster.package
    package.write(tmp_path)
    told = json.loads((tmp_path / "package.json").read_text())
    (member,) = told.pop("members")
    del told["steps"], member["picks"]
    (tmp_path / "package.json").write_text(json.dumps(told | member | {"format_version": 1}))
    weights = safetensors.numpy.load_file(tmp_path / "weights.safetensors")
    safetensors.numpy.save_file({name.removeprefix("0/"): array for name, array in weights.items()},
                                tmp_path / "weights.safetensors")
    again = Package.read(tmp_path)
    assert again.facts.model == "trial 3"
    rows = new_rows(forecaster.frame, "load")
    pd.testing.assert_frame_equal(again.predict(rows), package.predict(rows))


def test_new_rows_are_forecast_like_the_window_of_training_data_they_are(forecaster: Trained) -> None:
    """The last test window, handed in as new rows with its horizon left empty, gets the same forecast."""
    prepared = forecaster.prepared[0]
    known = predict_together(forecaster.package.members, forecaster.prepared, "test")
    samples = prepared.parts["test"]
    for series, name in enumerate(prepared.info.series):
        sample = int(np.flatnonzero(samples.series_N == series)[-1])
        first = int(samples.start_N[sample]) - 240 * series
        rows = forecaster.frame[forecaster.frame["id"] == name].iloc[first:first + 30].reset_index(drop=True)
        rows.loc[24:, "load"] = np.nan
        table = forecaster.package.predict(rows)
        assert table["ahead"].tolist() == [1, 2, 3, 4, 5, 6]
        assert list(table["time"]) == list(rows["ds"].iloc[24:])
        np.testing.assert_allclose(numbers(table), known[sample, :, 0], rtol=1e-5)


def test_folds_predict_as_an_ensemble(tmp_path: Path) -> None:
    trained = train(tmp_path, "classification", split={"by": "random", "folds": 3, "test": "20%"})
    assert len(trained.package.facts.infos) == 3
    trained.package.write(tmp_path)
    table = Package.read(tmp_path).predict(trained.frame)
    np.testing.assert_allclose(table[["p:high", "p:low"]].sum(axis=1), 1.0, atol=1e-6)
    assert not np.intersect1d(trained.package.row_keys["train"], trained.package.row_keys["test"]).size


def test_the_folder_holds_no_pickle_and_no_path_of_the_machine_and_needs_no_seqsweep(folder: Path) -> None:
    requirements = (folder / "requirements.txt").read_text().split()
    assert all("==" in line for line in requirements)
    assert not any("seqsweep" in line for line in requirements)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"artifacts/package/package.json", "artifacts/package/weights.safetensors",
            "artifacts/package/rows.safetensors", "served.py", "code/seqsweep/training/predict.py"} <= files
    assert not any("/cluster/" in file or "/store/" in file or "cli" in file for file in files)
    assert not any(file.endswith((".pkl", ".pyc", ".pt")) for file in files)
    description = (folder / "MLmodel").read_text()
    assert "model_code_path: served.py" in description
    assert str(Path(__file__).parents[2]) not in description


def test_the_carried_code_is_the_installed_code(folder: Path) -> None:
    import seqsweep

    source = Path(seqsweep.__file__).parent
    for file in (folder / "code" / "seqsweep").rglob("*.py"):
        assert file.read_bytes() == (source / file.relative_to(folder / "code" / "seqsweep")).read_bytes()


def test_the_package_loads_with_the_installed_code_and_runs_nothing_of_its_own(
        folder: Path, forecaster: Trained, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    for file in copy.rglob("*.py"):
        file.write_text("raise SystemExit('code of the package ran')")
    rows = new_rows(forecaster.frame, "load")
    pd.testing.assert_frame_equal(load_package(copy).predict(rows), forecaster.package.predict(rows))


@pytest.mark.parametrize("file", ["python_model.pkl", "artifacts/package/weights.PT", "code/x.joblib", "data.bin"])
def test_a_pickle_anywhere_is_refused(folder: Path, tmp_path: Path, file: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    (copy / file).write_bytes(b"\x80\x04.")
    with pytest.raises(Refused, match="can run code"):
        load_package(copy)


def test_another_kind_of_model_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    text = (copy / "MLmodel").read_text()
    (copy / "MLmodel").write_text(text.replace("mlflow.pyfunc.loaders.code_model", "mlflow.sklearn"))
    with pytest.raises(Refused, match=r"another kind of model \(loader mlflow.sklearn\)"):
        load_package(copy)
    (copy / "MLmodel").write_text(": : :")
    with pytest.raises(InvalidData, match="no MLflow model"):
        load_package(copy)


@pytest.mark.parametrize(("file", "content", "says"), [
    ("package.json", b'{"format_version": 99}', "format 99"),
    ("package.json", b"{", "no whole model package"),
    ("package.json", b'{"format_version": 1}', "no whole model package"),
    ("weights.safetensors", b"12", "no whole model package"),
    ("rows.safetensors", None, "no whole model package"),
])
def test_damage_is_told(folder: Path, tmp_path: Path, file: str, content: bytes | None, says: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    path = copy / "artifacts" / "package" / file
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InvalidData, match=says):
        load_package(copy)


def test_weights_are_plain_safetensors(folder: Path, forecaster: Trained) -> None:
    weights = safetensors.numpy.load_file(folder / "artifacts" / "package" / "weights.safetensors")
    assert all(name.startswith("0/0/") for name in weights)
    rows = safetensors.numpy.load_file(folder / "artifacts" / "package" / "rows.safetensors")
    assert set(rows) == {"train", "val", "test"}


def test_mlflow_takes_what_a_user_has(folder: Path, forecaster: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers, times as text or timestamps, extra columns: with pickles forbidden."""
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    model = loaded(folder)
    rows = new_rows(forecaster.frame, "load")
    rows.loc[rows["load"].notna(), "load"] = rows["load"].dropna().round()
    expected = numbers(forecaster.package.predict(rows))
    texts = rows.assign(ds=rows["ds"].dt.strftime("%Y-%m-%dT%H:%M:%S"), comment="x")
    for given in (rows, texts, texts.astype({"load": "Int64"})):
        np.testing.assert_allclose(numbers(model.predict(given)), expected, rtol=1e-6)
    assert model.metadata.signature.outputs is not None
    assert [column.name for column in model.metadata.signature.outputs] == list(forecaster.package.predict(rows))


def test_classes_through_mlflow(classifier: Trained, tmp_path: Path) -> None:
    folder = build_package(tmp_path / "model", classifier.package, classifier.frame.head(20))
    rows = classifier.frame.drop(columns="label")
    table = loaded(folder).predict(rows)
    pd.testing.assert_frame_equal(table, classifier.package.predict(rows))
    assert len(table) == 60
    assert set(table["class"]) <= {"low", "high"}


def test_a_package_without_an_example(classifier: Trained, tmp_path: Path) -> None:
    folder = build_package(tmp_path / "model", classifier.package)
    assert load_package(folder).facts == classifier.package.facts


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """A Python with all packages of this one but seqsweep: `.pth` files of a borrowed folder are not followed."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    own = next((tmp_path / "bare" / "lib").glob("python*/site-packages"))
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (own / "borrowed.pth").write_text("\n".join(borrowed))
    shutil.copy(Path(sys.executable).with_name("uvicorn"), tmp_path / "bare" / "bin" / "uvicorn")
    python = tmp_path / "bare" / "bin" / "python"
    script = tmp_path / "bare" / "bin" / "uvicorn"
    script.write_text(f"#!{python}\nimport sys\nfrom uvicorn.main import main\nsys.exit(main())\n")
    script.chmod(0o755)
    return python


def environment(python: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {"PATH": f"{python.parent}:{os.environ['PATH']}", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
                   "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def served(uri: str, python: Path, log: Path, tracking: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(python), "-m", "mlflow", "models", "serve", "--env-manager", "local", "--model-uri", uri,
               "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent, start_new_session=True,
                                   env=environment(python) | {"MLFLOW_TRACKING_URI": tracking})
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2).close()
                break
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


@pytest.mark.slow
def test_it_is_served_where_seqsweep_is_not_installed(
        folder: Path, forecaster: Trained, bare_python: Path, tmp_path: Path) -> None:
    absent = subprocess.run([bare_python, "-c", "import torch, mlflow, seqsweep"], env=environment(bare_python),
                            cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "No module named 'seqsweep'" in absent.stderr
    rows = new_rows(forecaster.frame, "load")
    body = json.dumps({"dataframe_split": json.loads(rows.to_json(orient="split", index=False, date_format="iso"))})
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(tracking, tracking)
    run = client.create_run(client.create_experiment("demo", artifact_location=str(tmp_path / "artifacts")))
    registry = Registry(tracking)
    version = registry.register("demo", folder, run_id=run.info.run_id, key="1:3", alias="challenger", tags={})
    with served("models:/demo@challenger", bare_python, tmp_path / "serve.log", tracking) as url:
        request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            told = pd.DataFrame(json.loads(answer.read())["predictions"])
    expected = load_package(registry.download(version, tmp_path / "copy")).predict(rows)
    np.testing.assert_allclose(numbers(told), numbers(expected), rtol=1e-5)
    assert told["series"].tolist() == expected["series"].tolist()
    assert pd.to_datetime(told["time"]).tolist() == expected["time"].tolist()
