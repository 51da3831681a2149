"""Registered versions that would run code when loaded: `predict` and `promote` refuse them, and nothing runs."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from small_sweeps import settings_in
from winners import Trained, train

from seqsweep.config.settings import Settings
from seqsweep.errors import InvalidData, Refused
from seqsweep.promotion import promote
from seqsweep.serving import predict
from seqsweep.tracking.package import build_package
from seqsweep.tracking.registry import Registry


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.canary, "code of a model ran")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("foreign")


@pytest.fixture(scope="module")
def settings(place: Path) -> Settings:
    return settings_in(place)


@pytest.fixture(scope="module")
def trained(place: Path) -> Trained:
    return train(place, "classification")


@pytest.fixture(scope="module")
def model(place: Path, trained: Trained) -> Path:
    return build_package(place / "model", trained.package)


@pytest.fixture(scope="module")
def run_id(settings: Settings, place: Path) -> str:
    client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
    run: str = client.create_run(client.create_experiment("e", artifact_location=str(place / "artifacts"))).info.run_id
    return run


def replaced(folder: Path, old: str, new: str) -> None:
    text = (folder / "MLmodel").read_text()
    assert old in text
    (folder / "MLmodel").write_text(text.replace(old, new))


def torch_archive(trap: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("model/data.pkl", trap)
    return packed.getvalue()


def pickled_flavor(folder: Path, trap: bytes) -> None:
    """As MLflow writes a model of Python: the pickle, and the loader that opens it."""
    (folder / "python_model.pkl").write_bytes(trap)
    replaced(folder, "loader_module: mlflow.pyfunc.loaders.code_model", "loader_module: mlflow.pyfunc.model\n"
             "    python_model: python_model.pkl")


def own_loader(folder: Path, trap: bytes) -> None:
    (folder / "code" / "evil.py").write_text(f"import pickle\npickle.loads({trap!r})\n")
    replaced(folder, "mlflow.pyfunc.loaders.code_model", "evil")


def own_code(folder: Path, trap: bytes) -> None:
    for file in folder.rglob("*.py"):
        file.write_text(f"import pickle\npickle.loads({trap!r})\n")
    replaced(folder, "mlflow.pyfunc.loaders.code_model", "seqsweep.tracking.served")


def second_flavor(folder: Path, trap: bytes) -> None:
    (folder / "weights.json").write_bytes(b"{}")
    replaced(folder, "flavors:\n", "flavors:\n  sklearn:\n    pickled_model: weights.json\n")


def link(folder: Path, trap: bytes) -> None:
    """MLflow copies what a link leads to."""
    (folder.parent / "outside.pkl").write_bytes(trap)
    (folder / "artifacts" / "package" / "model.pkl").symlink_to(folder.parent / "outside.pkl")


def file(name: str, content: Callable[[bytes], bytes] = lambda trap: trap) -> Callable[[Path, bytes], None]:
    def attack(folder: Path, trap: bytes) -> None:
        (folder / name).write_bytes(content(trap))

    return attack


ATTACKS: dict[str, tuple[Callable[[Path, bytes], None], str]] = {
    "a pickled model": (pickled_flavor, "python_model.pkl"),
    "a loader of its own": (own_loader, "loader evil"),
    "its code as the loader": (own_code, "loader seqsweep.tracking.served"),
    "a second flavor": (second_flavor, "flavor sklearn"),
    "a link": (link, "artifacts/package/model.pkl"),
    "a pickle beside the weights": (file("artifacts/package/extra.pkl"), "artifacts/package/extra.pkl"),
    "weights of torch": (file("artifacts/package/weights.pt", torch_archive), "artifacts/package/weights.pt"),
    "a joblib file": (file("code/x.joblib"), "code/x.joblib"),
    "a library": (file("code/x.so", lambda trap: b"\x7fELF"), "code/x.so"),
    "compiled code": (file("code/x.pyc"), "code/x.pyc"),
    "a pickle called JSON": (file("artifacts/package/package.json"), "artifacts/package/package.json"),
    "an archive called text": (file("notes.txt", torch_archive), "notes.txt"),
    "a file without an ending": (file("artifacts/package/model"), "artifacts/package/model"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_version_that_could_run_code_is_refused(name: str, model: Path, settings: Settings, run_id: str,
                                                  trained: Trained, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    attack, says = ATTACKS[name]
    attack(folder, pickle.dumps(Trap(canary), protocol=4))
    version = Registry(settings.tracking_uri).register("attacked", folder, run_id=run_id, key=name,
                                                       alias="challenger", tags={})
    for action in (lambda: predict(str(version), trained.frame, settings), lambda: promote(str(version), settings)):
        with pytest.raises(Refused, match="only models that seqsweep registered") as refused:
            action()
        problem, = refused.value.problems
        assert problem.where == str(version) and says in problem.what, str(problem)
    assert not canary.exists()
    assert Registry(settings.tracking_uri).holder("attacked", "champion") is None


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "canary"), protocol=4))
    assert (tmp_path / "canary").read_text() == "code of a model ran"


def test_a_whole_package_is_not_refused(model: Path, settings: Settings, run_id: str, trained: Trained) -> None:
    version = Registry(settings.tracking_uri).register("honest", model, run_id=run_id, key="1", alias="challenger",
                                                       tags={})
    assert len(predict(str(version), trained.frame, settings)) == 60


@pytest.mark.filterwarnings("ignore::UserWarning")  # MLflow would have other type hints
def test_models_that_mlflow_itself_logged_are_refused(settings: Settings, run_id: str, trained: Trained,
                                                      tmp_path: Path) -> None:
    import mlflow
    from sklearn.linear_model import LinearRegression

    class Python(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
        def load_context(self, context: Any) -> None:
            (tmp_path / "canary").write_text("code of a model ran")

        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return model_input

    fitted = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    mlflow.sklearn.save_model(fitted, tmp_path / "sklearn", serialization_format="cloudpickle", pip_requirements=[])
    mlflow.pyfunc.save_model(tmp_path / "python", python_model=Python(), pip_requirements=[])
    for kind in ("sklearn", "python"):
        version = Registry(settings.tracking_uri).register("logged", tmp_path / kind, run_id=run_id, key=kind,
                                                           alias="challenger", tags={})
        for action in (lambda: predict(f"logged/{version.version}", trained.frame, settings),  # noqa: B023
                       lambda: promote(f"logged/{version.version}", settings)):  # noqa: B023
            with pytest.raises(Refused, match=r"logged/\d: holds files that can run code"):
                action()
    assert not (tmp_path / "canary").exists()


def test_a_version_without_a_model_is_no_model(settings: Settings, run_id: str, trained: Trained,
                                               tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / "MLmodel").write_text("a: &a [*a]\nflavors: {python_function: {loader_module: [1]}}\n")
    version = Registry(settings.tracking_uri).register("nothing", tmp_path / "nothing", run_id=run_id, key="1",
                                                       alias="challenger", tags={})
    with pytest.raises((InvalidData, Refused), match="nothing/1: is "):
        predict(str(version), trained.frame, settings)
