"""The model package: an MLflow model folder that predicts without seqsweep installed, and holds no pickle."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from importlib import metadata
from pathlib import Path

import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType", UserWarning)  # of MLflow's own classes
    from mlflow import pyfunc

import seqsweep
from seqsweep.config.own import signature_of
from seqsweep.errors import InvalidData, Problem, Refused
from seqsweep.tracking.client import quiet
from seqsweep.tracking.packaged import Package

CARRIED = ("config", "data", "models", "tasks", "training")
"""Rooms that a package needs to predict."""
_CARRIED_FILES = ("__init__.py", "errors.py", "own.py", "records.py", "secrets.py",
                  "tracking/__init__.py", "tracking/attached.py", "tracking/packaged.py")
_REQUIREMENTS = ("mlflow", "torch", "numpy", "pandas", "pydantic", "safetensors")
_LOADER = "mlflow.pyfunc.loaders.code_model"
_ENDINGS = frozenset({".py", ".json", ".yaml", ".txt", ".safetensors"})
_NAMES = frozenset({"MLmodel", "registered_model_meta"})
"""Files of a package end so, or are called so; MLflow writes the second beside what it downloads."""
_DTYPES = {"i": DataType.long, "u": DataType.long, "f": DataType.double, "b": DataType.boolean, "M": DataType.datetime}


def build_package(folder: Path, package: Package, example: pd.DataFrame | None = None) -> Path:
    """Write a package as an MLflow model into a new or empty folder, and return the folder.

    `example`: a few rows as a user would send them; they are predicted once, and become the model's input example.
    """
    with tempfile.TemporaryDirectory() as temporary, quiet():
        contents, code = Path(temporary) / "package", Path(temporary) / "seqsweep"
        contents.mkdir()
        package.write(contents)
        _carry(code)
        pyfunc.save_model(
            folder, python_model=str(_served(Path(temporary))), artifacts={"package": str(contents)},
            code_paths=[str(code)], pip_requirements=_requirements(package), signature=_signature(package, example),
            input_example=example, metadata={"seqsweep.format": package.facts.format_version})
    _forget_where_it_was_built(folder)
    return folder


def load_package(folder: Path, name: str = "") -> Package:
    """Read a package with the installed seqsweep: nothing that lies in the folder is executed.

    `name`: what errors call it, the folder by default. Raises Refused where it holds a pickle or is another kind of
    model, InvalidData where it is damaged.
    """
    refuse_foreign(folder, name or str(folder))
    return Package.read(folder / "artifacts" / "package", name)


def refuse_foreign(folder: Path, name: str) -> None:
    """Raise Refused unless the folder is a seqsweep package without any file that can hold a pickle."""
    foreign = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if _is_foreign(path))
    if foreign:
        raise Refused(Problem(name, f"holds files that can run code when loaded: {', '.join(foreign[:5])}",
                              "only models that seqsweep registered are loaded"))
    try:
        flavors = dict(Model.load(str(folder)).flavors)
        flavor = flavors.pop("python_function")
        loader = str(flavor["loader_module"])
    except Exception as error:  # MLflow tells a damaged file by whatever its parser raises
        raise InvalidData(Problem(name, f"is no MLflow model: {error}")) from error
    others = [f"loader {loader}"] * (loader != _LOADER) + [f"flavor {other}" for other in sorted(flavors)]
    if "python_model" in flavor:  # a pickle, which MLflow would load
        others.append(f"python_model {flavor['python_model']}")
    if others or not (folder / "artifacts" / "package").is_dir():
        raise Refused(Problem(name, f"is another kind of model ({', '.join(others) or 'without a package'})",
                              "only models that seqsweep registered are loaded"))


def _is_foreign(path: Path) -> bool:
    """Whether no package of ours has such a file: a link, another ending, or a pickle or an archive by its content."""
    if path.is_symlink():
        return True
    if path.is_dir():
        return False
    if not path.is_file() or not (path.name in _NAMES or path.suffix in _ENDINGS):
        return True
    with path.open("rb") as file:
        head = file.read(4)
    text = path.suffix != ".safetensors"  # whose length stands first, which may look like anything
    return text and (head[:1] == b"\x80" or head == b"PK\x03\x04")


def _carry(target: Path) -> None:
    """Copy the rooms' sources, and nothing else."""
    source = Path(seqsweep.__file__).parent
    files = [Path(name) for name in _CARRIED_FILES]
    files += [path.relative_to(source) for room in CARRIED for path in (source / room).rglob("*.py")]
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, target / file)


def _served(folder: Path) -> Path:
    return Path(shutil.copyfile(Path(__file__).with_name("served.py"), folder / "served.py"))


def _requirements(package: Package) -> list[str]:
    """Pinned: what seqsweep needs to predict, and what the user's own code imports."""
    imported = {name for section, own in package.facts.owns for name in signature_of(own, section).imports}
    known = metadata.packages_distributions() if imported else {}
    also = {name for module in imported - {"seqsweep"} for name in known.get(module, ())}
    return [f"{name}=={metadata.version(name).partition('+')[0]}"
            for name in (*_REQUIREMENTS, *sorted(also - set(_REQUIREMENTS)))]


def _signature(package: Package, example: pd.DataFrame | None) -> ModelSignature:
    """Columns of any type: MLflow would refuse whole numbers in a column of floats, and times as text."""
    inputs = Schema([ColSpec(AnyType(), name, required=False)  # type: ignore[no-untyped-call]
                      for name in package.columns])
    if example is None:
        return ModelSignature(inputs)
    output = package.predict(example)
    return ModelSignature(inputs, Schema([ColSpec(_DTYPES.get(output[name].dtype.kind, DataType.string), str(name))
                                          for name in output.columns]))


def _forget_where_it_was_built(folder: Path) -> None:
    """MLflow notes the absolute path of the served file, of which it reads the name only."""
    model = Model.load(str(folder))
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    model.save(str(folder / "MLmodel"))
