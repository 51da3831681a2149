"""What can be told of a user's own code without running it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_sweeps import forecasting

from seqsweep.config.loader import load_sweep
from seqsweep.config.sweep import Sweep, fit_config
from seqsweep.errors import InvalidSweep
from seqsweep.search.space import cells
from seqsweep.submission import differences, identity, specification

MODEL = """
from typing import Literal
import no_such_package                                     # it is read, and never run
class Base:
    def __init__(self, input_size, width: int = 8): ...
class Tiny(Base): ...
class Other:
    def __init__(self, input_size: int, units: int = 4, rate: float = 1, lr2=0.5, form: Literal["a", "b"] = "a",
                 act=print, *, need: bool): ...
class Bare: ...
class Few:
    def __init__(self): ...
class Clash:
    def __init__(self, input_size, epochs: int = 3): ...
class Ring(Knot): ...
class Knot(Ring): ...
class Odd:
    def __init__(self, input_size, table={[1]: 2}, width: int = 8): ...
class Settings:
    def __init__(self, input_size, model_config: int = 3): ...
class Torn:
    def __init__(self, input_size, kind: Literal["\\ud800", "b"] = "b"): ...
class Wrong:
    def __init__(self, input_size, width: int = "many"): ...
class Steep:
    def __init__(self, task, model, data, weight: float = 9, form: Literal["pinball", "square"] = "square"): ...
class Needy:
    def __init__(self, task, model, data, power: int, table=print): ...
class Wide:
    def __init__(self, task, model, data, width: int = 3): ...
class Placed:
    def __init__(self, task, model, data, w: float = 2.0, /, weight: float = 9): ...
class Nameless:
    def __init__(self, task, model, data, w: float, /): ...
class Private:
    def __init__(self, task, model, data, _w: float): ...
class Taken:
    def __init__(self, task, model, data,
                 model_config: float = 2.0): ...
class Hidden:
    def __init__(self, task, model, data, hidden_size: int = 3): ...
class Short:
    def __init__(self, task, model): ...
def wape(y_true, y_pred): ...
def mae(y_true, y_pred): ...
def one(y_true): ...
def strict(y_true, y_pred, more): ...
"""
EPOCHS = {"epochs": {"value": 2}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "mine.py").write_text(MODEL)
    (tmp_path / "outside.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path / "inner")
    return tmp_path / "inner"


def sweep(entry: str = "mine.py:Tiny", parameters: dict[str, Any] | None = None, **keys: Any) -> Sweep:
    searched = {"width": {"values": [4, 8]}} if parameters is None else parameters
    return load_sweep(forecasting(Path("load.csv"), **({"model": {"entry": entry}} | keys),
                                  parameters=EPOCHS | searched))


def refused(*args: Any, **keys: Any) -> str:
    with pytest.raises(InvalidSweep) as found:
        sweep(*args, **keys)
    return str(found.value)


def test_arguments_are_parameters(folder: Path) -> None:
    found = sweep("mine.py:Other", {"units": {"min": 2, "max": 9}, "rate": {"min": 1, "max": 2}, "form": {
        "values": ["a", "b"]}, "need": {"value": True}, "lr": {"value": 0.01}, "lr2": {"value": 1}})
    assert found.parameters["units"].min == 2  # not another name of hidden_size here
    assert isinstance(found.parameters["rate"].min, float)
    kinds = {name: type(each).__name__ for name, each in cells(found)[0].distributions.items()}
    assert kinds == {"units": "IntDistribution", "rate": "FloatDistribution", "form": "CategoricalDistribution"}
    config = fit_config(found, {"units": 3, "rate": 1.5, "need": True, "learning_rate": 0.01, "naive_season": 12}, 0)
    assert config.model.model_dump(exclude={"code"}) == {
        "entry": "mine.py:Other", "arguments": {"units": 3, "rate": 1.5, "need": True}, "naive_season": 12,
        "highway": 0, "window_norm": "none"}
    assert config.training.learning_rate == 0.01
    assert type(found).model_validate_json(found.model_dump_json(by_alias=True)) == found


def learning(entry: str) -> dict[str, Any]:
    """The task of `forecasting`, learnt by a class of the user's own."""
    task = forecasting(Path("load.csv"))["task"]
    return {"task": {**task, "entry": entry}}


def test_arguments_of_what_learns_are_parameters(folder: Path) -> None:
    found = sweep(parameters={"width": {"value": 4}, "weight": {"min": 1, "max": 9}, "form": {
        "values": ["pinball", "square"]}}, **learning("mine.py:Steep"))
    kinds = {name: type(each).__name__ for name, each in cells(found)[0].distributions.items()}
    assert kinds == {"weight": "FloatDistribution", "form": "CategoricalDistribution"}
    config = fit_config(found, {"width": 4, "weight": 2.0, "learning_rate": 0.01}, 0)
    assert config.learner == {"weight": 2.0}
    assert config.model.model_dump()["arguments"] == {"width": 4}
    assert type(config).model_validate_json(config.model_dump_json()) == config
    sweep(parameters={"width": {"value": 4}, "weight": {"value": 3}}, **learning("mine.py:Placed"))
    assert "learner" not in fit_config(sweep(), {"width": 4}, 0).model_dump()
    shipped = sweep(parameters={"hidden_size": {"value": 4}, "weight": {"value": 3}}, **learning("mine.py:Steep"),
                    model=None)
    assert fit_config(shipped, {"hidden_size": 4, "weight": 3.0}, 0).learner == {"weight": 3.0}


@pytest.mark.parametrize(("entry", "parameters", "says"), [
    ("Steep", {"wieght": {"value": 4}}, "did you mean weight?"), ("Steep", {"weight": {"value": "x"}}, "weight"),
    ("Needy", {}, "Needy needs power"),
    ("Needy", {"power": {"value": 2}, "table": {"value": 1}}, "table of Needy cannot be searched"),
    ("Wide", {"width": {"value": 4}}, "argument width, and an argument of Tiny is called so"),
    ("Short", {}, "Short(task, model, data)"),
    ("Steep", {"weight": {"min": -1e308, "max": 1e308}}, "further than a number can tell"),
    ("Placed", {"w": {"value": 3.0}}, "w of Placed cannot be searched"),
    ("Nameless", {"w": {"value": 3.0}}, "Nameless needs w, which seqsweep does not give"),
    ("Private", {}, "Private needs _w, which"),
    ("Taken", {}, f"mine.py:{MODEL[:MODEL.index('model_config: float')].count(chr(10)) + 1}:1: an argument of Taken "
     "that is searched cannot be called model_config"),
    ("Needy", {"width": {"values": [4, 8]}, "power": {"value": 2, "when": {"width": [4]}}}, "in which it is inactive"),
])
def test_arguments_of_what_learns_that_are_refused(entry: str, parameters: dict[str, Any], says: str,
                                                   folder: Path) -> None:
    assert says in refused(parameters=parameters, **learning(f"mine.py:{entry}"))


@pytest.mark.parametrize(("name", "says"), [
    ("hidden_size", "a parameter of the model is called so"), ("epochs", "a parameter of the training is called so"),
    ("dropout", "a parameter of the model is called so"), ("state", "a column"), ("val_mae", "a column")])
def test_a_parameter_means_one_thing(name: str, says: str, folder: Path) -> None:
    default = "None" if name == "dropout" else "3"  # which cannot be searched, so that the model would have it alone
    (folder / "mine.py").write_text(f"class Own:\n    def __init__(self, task, model, data, {name}={default}): ...\n")
    assert says in refused(parameters={name: {"value": 3}}, **learning("mine.py:Own"), model=None)
    if name != "epochs":  # one of EPOCHS
        kept = sweep(parameters={}, **learning("mine.py:Own"), model=None)  # nothing is asked of it
        assert fit_config(kept, {"epochs": 2}, 0).learner == {}


@pytest.mark.parametrize(("entry", "says"), [
    ("mine.py:Tny", "did you mean Tiny?"), ("mine.py:wape", "wape is no class"), ("mine.py:Bare", "no __init__"),
    ("mine.py:Few", "called Few(input_size)"), ("mine.py:Clash", "argument epochs"), ("mine.py:Wrong", "'many'"),
    ("mine.py:Ring", "no __init__"), ("mine.py:Settings", "called model_config"), ("mine.py:Torn", "mine.py"),
    ("min.py:Tiny", "did you mean mine.py?"), ("mine.txt:Tiny", "FILE.py:NAME"), ("../outside.py:Tiny", "FILE.py:NAME"),
    ("/mine.py:Tiny", "FILE.py:NAME"), ("mine.py", "FILE.py:NAME"), ("link.py:Tiny", "leads out of"),
    ("broken.py:Tiny", "broken.py:2"), ("large.py:Tiny", "256 KiB"), ("bytes.py:Tiny", "cannot be read"),
    ("beside.py:Tiny", "beside.py:1:1: it imports mine from beside it"), ("mine.py:Other", "needs need"),
])
def test_files_and_classes_that_are_refused(entry: str, says: str, folder: Path) -> None:
    (folder / "link.py").symlink_to(folder.parent / "outside.py")
    (folder / "broken.py").write_text("x = 1\nclass Tiny(:\n")
    (folder / "large.py").write_text("#" * (1 << 18) + "\n")
    (folder / "bytes.py").write_bytes(b"\xff\xfe")
    (folder / "beside.py").write_text("import mine\nclass Tiny(mine.Tiny): ...\n")
    assert says in refused(entry, {})


@pytest.mark.parametrize(("keys", "says"), [
    ({"parameters": {"widht": {"value": 4}}}, "did you mean width?"),
    ({"parameters": {"hidden_size": {"value": 4}}}, '"hidden_size" is no parameter'),
    ({"parameters": {"width": {"value": 4.5}}}, "a whole number"),
    ({"entry": "mine.py:Other", "parameters": {"act": {"value": 1}, "need": {"value": True}}},
     "act of Other cannot be searched"),
    ({"resources": {"kernel": "compiled"}}, "computed by torch"), ({"resources": {"pack": 4}}, "one trial at a time"),
    ({"model": {"entry": "mine.py:Tiny", "code": "x"}}, 'unknown key "code"'),
    ({"metric": {"entry": "mine.py:wape"}}, "minimize, or maximize"),
    ({"metric": {"entry": "mine.py:wape", "goal": "minimize", "name": "mae"}}, "has its function's name"),
    ({"metric": {"entry": "mine.py:mae", "goal": "minimize"}}, "mae is a metric of forecasting already"),
    ({"metric": {"entry": "mine.py:one", "goal": "minimize"}}, "one(y_true, y_pred)"),
    ({"metric": {"entry": "mine.py:strict", "goal": "minimize"}}, "needs more"),
    ({"task": {"type": "anomaly", "context": 9}, "metric": {"entry": "mine.py:wape", "goal": "minimize"}}, "alarm"),
    ({"task": {"type": "anomaly", "context": 9, "entry": "mine.py:Tiny"}, "metric": {"name": "loss"}}, "unknown key"),
])
def test_what_does_not_fit_the_sweep(keys: dict[str, Any], says: str, folder: Path) -> None:
    assert says in refused(**keys)


def test_a_sweep_without_own_code_is_what_it_was(folder: Path) -> None:
    spec = specification(load_sweep(forecasting(Path("load.csv"))))
    assert "model" not in spec
    assert not {"entry", "code"} & {*spec["metric"], *spec["prepare"], *spec["task"]}


def test_changed_code_is_another_sweep(folder: Path) -> None:
    metric = {"entry": "mine.py:wape", "goal": "minimize"}
    before = specification(sweep(metric=metric))
    (folder / "mine.py").write_text(MODEL + "# and more\n")
    after = specification(sweep(metric=metric))
    assert identity(before) != identity(after)
    (first, second) = differences(before, after)
    assert first.startswith("model.entry: mine.py has changed: sha256 ")
    assert second.startswith("metric.entry: mine.py has changed: sha256 ")
    (folder / "mine.py").write_bytes((MODEL + "# and more\n").replace("\n", "\r\n").encode())
    assert identity(specification(sweep(metric=metric))) == identity(after)  # a checkout on another system


def test_the_file_lies_beside_the_yaml_wherever_one_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = forecasting(Path("load.csv"), model={"entry": "mine.py:Tiny"},
                           parameters=EPOCHS | {"width": {"value": 4}}, budget={"max_trials": 1})
    (folder / "one.yaml").write_text(json.dumps(document))
    monkeypatch.chdir(folder.parent)
    found = load_sweep(folder / "one.yaml")
    assert found.model is not None
    assert found.model.code == MODEL
    with pytest.raises(InvalidSweep, match=r"there is no file mine\.py"):
        load_sweep(document)


def test_editors_know_it(folder: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    from seqsweep.config.schema import sweep_schema

    schema = sweep_schema()
    assert "code" not in json.dumps(schema["$defs"]["OwnConfig"])
    document = forecasting(Path("load.csv"), model={"entry": "mine.py:Tiny"}, parameters={"width": {"value": 4}},
                           metric={"entry": "mine.py:wape", "goal": "minimize"})
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({key: each for key, each in document.items() if key != "model"}, schema)


def test_a_byte_order_mark_and_an_odd_default_do_no_harm(folder: Path) -> None:
    (folder / "marked.py").write_text(MODEL, encoding="utf-8-sig")
    assert sweep("marked.py:Odd").model is not None
