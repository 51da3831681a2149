"""Every verb, in a process of its own, for people and for programs; what goes wrong, and its exit code."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from shell import SEQSWEEP, answer, cold, environment, refusal, seqsweep
from small_sweeps import forecasting, write_series

VERBS = ("init", "validate", "schema", "plan", "submit", "list", "status", "stop", "resume", "leaderboard", "project",
         "predict", "export", "promote", "rollback", "doctor", "delete")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weak sweep and a strong one that register the same model; the second became champion after the first."""
    folder = tmp_path_factory.mktemp("cli")
    write_series(folder / "load.csv")
    for name, learning_rate in (("weak", 0.001), ("strong", 0.03)):
        parameters = {"learning_rate": {"value": learning_rate}, "hidden_size": {"values": [4, 8]},
                      "epochs": {"value": 8}, "batch_size": {"value": 32}}
        write_sweep(folder, name, parameters=parameters, budget={"max_trials": 2}, method="grid",
                    register={"model": "load"}, promote={"to": "champion", "require": ["beats_champion"]})
    write_sweep(folder, "broken", metrik={"name": "mae"}, seed="x")
    rows = (folder / "load.csv").read_text().splitlines()
    later = [re.sub(r",[^,]*,", ",,", row) for row in rows[101:104]]
    (folder / "new.csv").write_text("\n".join(rows[:101] + later) + "\n")
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    """What `submit` said of the two sweeps."""
    return {name: seqsweep(folder, "submit", f"{name}.yaml") for name in ("weak", "strong")}


def write_sweep(folder: Path, file: str, **keys: Any) -> Path:
    (folder / f"{file}.yaml").write_text(yaml.safe_dump(forecasting(Path("load.csv"), **{"name": file} | keys)))
    return folder / f"{file}.yaml"


# -- help


def test_help_lists_the_verbs_and_the_exit_codes(folder: Path) -> None:
    said = " ".join(seqsweep(folder, "--help", COLUMNS="200").stdout.split())
    for verb in VERBS:
        assert f" {verb} " in said
    for code, meaning in {0: "done", 1: "error", 2: "wrong usage", 3: "invalid sweep", 4: "invalid data",
                          5: "not found", 6: "conflict", 7: "refused by the gate", 8: "search failed",
                          9: "unavailable", 10: "unsound records", 130: "interrupted"}.items():
        assert f"{code} {meaning}" in said


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_json(folder: Path, verb: str) -> None:
    assert "--json" in seqsweep(folder, verb, "--help", COLUMNS="200").stdout


def test_wrong_usage(folder: Path) -> None:
    assert "No such command" in seqsweep(folder, "valdate", exit_code=2).stderr
    assert "Missing argument" in seqsweep(folder, "submit", exit_code=2).stderr
    assert "No such option" in seqsweep(folder, "list", "--jsn", exit_code=2).stderr


# -- before a sweep


def test_validate(folder: Path) -> None:
    assert "valid: weak, strong" in seqsweep(folder, "validate", "weak.yaml", "strong.yaml").stdout
    assert answer(folder, "validate", "weak.yaml") == {"valid": True, "sweeps": ["weak"]}
    assert answer(folder, "validate", "electricity") == {"valid": True, "sweeps": ["electricity"]}


def test_validate_says_what_deterministic_leaves_out(tmp_path: Path) -> None:
    write_sweep(tmp_path, "load", deterministic=True, budget={"max_trials": 4, "max_time": "5m"})
    said = " ".join(seqsweep(tmp_path, "validate", "load.yaml", COLUMNS="200").stdout.split())
    assert "load is deterministic: one table of trials for 1 worker" in said
    assert "not covered: budget.max_time, which ends trials by the clock on the wall" in said
    assert "budget.max_time" in answer(tmp_path, "validate", "load.yaml")["deterministic"]["load"]


def test_validate_tells_every_problem_of_every_file(folder: Path) -> None:
    said = seqsweep(folder, "validate", "broken.yaml", "none.yaml", "weak.yaml", exit_code=3).stderr
    assert re.search(r"broken\.yaml:\d+:1: unknown key \"metrik\"\n +did you mean metric\?", said)
    assert re.search(r"broken\.yaml:\d+:\d+: seed cannot be the text \"x\"", said)
    assert "none.yaml: there is no such file" in said
    found = refusal(folder, "validate", "broken.yaml", exit_code=3)
    assert found["error"] == "InvalidSweep"
    assert {problem["what"] for problem in found["problems"]} == {'unknown key "metrik"', 'seed cannot be the text "x"'}
    assert all(problem["where"].startswith("broken.yaml:") and problem["right"] for problem in found["problems"])


def test_schema(folder: Path) -> None:
    schema = json.loads(seqsweep(folder, "schema").stdout)
    assert {"name", "task", "budget"} <= set(schema["properties"])
    assert answer(folder, "schema") == schema


def test_output_may_end_early(folder: Path) -> None:
    said = subprocess.run(["/bin/sh", "-c", f"'{SEQSWEEP}' schema | head -1"], cwd=folder, env=environment(), text=True,
                          capture_output=True, timeout=60)
    assert said.stdout == "{\n"
    assert said.stderr == ""


def test_plan(folder: Path) -> None:
    assert re.search(r"strong: about \d+:\d\d of search on 1 worker", seqsweep(folder, "plan", "strong.yaml").stdout)
    found = answer(folder, "plan", "strong.yaml")
    assert (found["trials"], found["grid_points"], found["workers"]) == (2, 2, 1)
    assert found["seconds"] > 0
    assert found["weights"][0] < found["weights"][2]


def test_no_sweep_yet(tmp_path: Path) -> None:
    assert "no sweep yet" in seqsweep(tmp_path, "list").stdout
    assert answer(tmp_path, "list") == []
    assert "there is no store here" in seqsweep(tmp_path, "status", "load", exit_code=5).stderr
    assert not list(tmp_path.glob("*.db*"))


# -- a sweep


def test_submit_tells_each_stage_the_winner_and_what_is_next(done: dict[str, Any]) -> None:
    said = done["strong"]
    stages = [line.split()[0] for line in said.stderr.splitlines()]
    assert list(dict.fromkeys(stages)) == ["prepare", "search", "evaluate", "register", "promote"]
    assert "search    done: 2 complete" in said.stderr
    assert re.search(r"trial \d (wins|leads, not beyond chance): mae [\d.]+ on the test part", said.stdout)
    assert "gate: load/2 is now champion" in said.stdout
    assert "beats_champion: yes" in said.stdout
    after = said.stdout.partition("\nnext:\n")[2].splitlines()
    assert [line.split(" # ")[0].strip() for line in after] == [
        "mlflow ui", "seqsweep leaderboard strong", "seqsweep predict load@champion --data new.csv"]


def test_submit_again_trains_nothing(folder: Path, done: dict[str, Any]) -> None:
    again = seqsweep(folder, "submit", "strong.yaml", "--json")
    assert "nothing to train: all 2 trials are there" in again.stderr
    found = json.loads(again.stdout)
    assert (found["sweep"], found["state"], found["model"]) == ("strong", "finished", "load/2")
    assert set(found["best"]) == {"number", "value", "epoch", "params"}


def test_resume_of_a_finished_sweep_trains_nothing(folder: Path, done: dict[str, Any]) -> None:
    again = seqsweep(folder, "resume", "weak", "--json")
    assert "nothing to train" in again.stderr
    assert json.loads(again.stdout)["model"] == "load/1"
    assert refusal(folder, "resume", "nobody", exit_code=5)["error"] == "NotFound"


def test_list_and_status(folder: Path, done: dict[str, Any]) -> None:
    assert "no sweep named waek" in seqsweep(folder, "status", "waek", exit_code=5).stderr
    assert re.search(r"weak +finished +2 ", seqsweep(folder, "list").stdout)
    assert [(row["sweep"], row["state"], row["trials"]) for row in answer(folder, "list")] == [
        ("weak", "finished", 2), ("strong", "finished", 2)]
    listed = seqsweep(folder, "list", COLUMNS="120").stdout
    assert re.search(r"weak +finished .* load/1 *\n", listed)
    assert re.search(r"strong +finished .* load/2 @challenger @champion *\n", listed)
    assert [row["versions"] for row in answer(folder, "list")] == [
        [{"version": "load/1", "aliases": []}], [{"version": "load/2", "aliases": ["challenger", "champion"]}]]
    away = seqsweep(folder, "list", MLFLOW_TRACKING_URI="http://127.0.0.1:1").stdout
    assert re.search(r"strong .* load/2 @\? *\n", away)
    assert away.count("who holds which alias is not known: MLflow does not answer") == 1
    said = seqsweep(folder, "status", "strong").stdout
    assert re.search(r"state +finished\n", said)
    assert re.search(r"trials +complete 2\n", said)
    found = answer(folder, "status", "strong")
    assert found["trials"] == {"complete": 2}
    assert all(re.fullmatch(r"\(\d+ shapes?\)", count) for count in found["kernels"].values())
    assert re.search(rf"kernels +{next(iter(found['kernels']))}", said)
    assert found["controller"] is None
    assert "did you mean strong?" in seqsweep(folder, "status", "strog", exit_code=5).stderr


def test_stop_of_what_does_not_run(folder: Path, done: dict[str, Any]) -> None:
    assert "weak is finished" in seqsweep(folder, "stop", "weak").stdout
    assert answer(folder, "stop", "weak") == {"sweep": "weak", "state": "finished"}
    seqsweep(folder, "stop", "nobody", exit_code=5)


def test_leaderboard(folder: Path, done: dict[str, Any]) -> None:
    said = seqsweep(folder, "leaderboard", "strong").stdout
    assert "seasonal naive" in said
    assert "…" not in said
    assert "gate: load/2 is now champion" in said
    found = answer(folder, "leaderboard", "strong")
    assert found["gate"] in said
    kinds = [row["kind"] for row in found["rows"]]
    assert (kinds.count("winner"), kinds.count("trial")) == (1, 1)
    assert kinds.count("baseline") >= 3
    winner = next(row for row in found["rows"] if row["kind"] == "winner")
    assert winner["epochs"] == 8
    assert isinstance(winner["hidden_size"], int)
    assert len(answer(folder, "leaderboard", "strong", "--top", "1")["rows"]) == len(kinds) - 1
    assert answer(folder, "leaderboard", "weak")["rows"][0]["kind"] == "baseline"
    weak = seqsweep(folder, "leaderboard", "weak").stdout
    assert re.search(r"trial \d +candidate ", weak)
    assert "winner" not in weak


def test_doctor_finds_and_mends(folder: Path, done: dict[str, Any]) -> None:
    assert "sound: strong" in seqsweep(folder, "doctor", "strong").stdout
    assert answer(folder, "doctor", "strong") == {"sweep": "strong", "sound": True, "done": [], "failed": [],
                                                  "findings": []}
    (folder / "mlflow.db").rename(folder / "kept.db")
    try:
        assert "MLflow does not answer" in seqsweep(folder, "doctor", "strong", exit_code=9).stdout
    finally:
        (folder / "kept.db").rename(folder / "mlflow.db")
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE runs SET status = 'RUNNING' WHERE name = 'strong-1'")
    said = seqsweep(folder, "doctor", "strong", exit_code=10).stdout
    assert "lost          MLflow, trial 1: it is complete, and its run RUNNING" in said
    assert "`seqsweep doctor strong --repair` mends what is safe" in said
    assert "sound: strong" in seqsweep(folder, "doctor", "strong", "--repair").stdout
    assert "did you mean strong?" in seqsweep(folder, "doctor", "strog", exit_code=5).stderr


def test_project_writes_nothing_twice(folder: Path, done: dict[str, Any]) -> None:
    assert "strong: 3 runs are in MLflow" in seqsweep(folder, "project", "strong").stdout
    (folder / "mlflow.db").rename(folder / "kept.db")
    try:
        assert answer(folder, "project", "strong") == {"sweep": "strong", "runs": 3}
    finally:
        (folder / "kept.db").rename(folder / "mlflow.db")


# -- a model


def test_predict_reads_a_csv_and_writes_one(folder: Path, done: dict[str, Any]) -> None:
    said = seqsweep(folder, "predict", "load@champion", "--data", "new.csv").stdout
    found = pd.read_csv(io.StringIO(said))
    assert list(found.columns) == ["time", "ahead", "target", "prediction"]
    assert list(found["ahead"]) == [1, 2, 3]
    assert list(found["time"]) == [row.split(",")[0] for row in (folder / "new.csv").read_text().splitlines()[-3:]]
    wrote = seqsweep(folder, "predict", "load@champion", "--data", "new.csv", "--out", "out.csv")
    assert (wrote.stdout, wrote.stderr) == ("", "wrote 3 rows to out.csv\n")
    assert (folder / "out.csv").read_text() == said
    rows = answer(folder, "predict", "load@champion", "--data", "new.csv")
    assert [row["prediction"] for row in rows] == list(found["prediction"])


def test_predict_from_rows_that_do_not_do(folder: Path, done: dict[str, Any]) -> None:
    frame = pd.read_csv(folder / "load.csv")
    frame.head(5).to_csv(folder / "short.csv", index=False)
    assert seqsweep(folder, "predict", "load", "--data", "short.csv", exit_code=4).stderr.startswith("error: short.csv")
    frame.drop(columns="load").to_csv(folder / "less.csv", index=False)
    found = refusal(folder, "predict", "load", "--data", "less.csv", exit_code=4)
    assert "load" in found["problems"][0]["what"]
    seqsweep(folder, "predict", "load@nobody", "--data", "new.csv", exit_code=5)
    seqsweep(folder, "predict", "lod", "--data", "new.csv", exit_code=5)
    for place, what in (("no/x.csv", "there is no folder no"), ("mlruns", "it is a folder")):
        said = seqsweep(folder, "predict", "load", "--data", "new.csv", "--out", place, exit_code=5).stderr
        assert said.startswith(f"error: {place}: {what}")


def test_models_are_sought_where_there_is_a_database_and_none_is_made(tmp_path: Path, folder: Path) -> None:
    for verb in (("predict", "load", "--data", folder / "new.csv"), ("promote", "load"), ("rollback", "load"),
                 ("export", "load", "--out", "load.pt2")):
        said = seqsweep(tmp_path, *verb, exit_code=5).stderr
        assert f"{tmp_path / 'mlflow.db'}: there is no MLflow database here" in said
        assert "MLFLOW_TRACKING_URI names another" in said
    assert not list(tmp_path.iterdir())


def test_promote_is_refused_with_its_own_exit_code(folder: Path, done: dict[str, Any]) -> None:
    said = seqsweep(folder, "promote", "load/1", exit_code=7).stderr
    assert said.count("load/1 is not promoted") == 1  # the reasons stand below one another
    assert "beats_champion: no" in said
    found = refusal(folder, "promote", "load/1", exit_code=7)
    assert found["error"] == "Refused"
    assert any("beats_baseline: no" in problem["what"] for problem in found["problems"])


def test_export_writes_a_program_or_says_why_not(folder: Path, done: dict[str, Any]) -> None:
    done_cold = cold(folder, "export", "load/2", "--out", "load.pt2", "--json")
    assert done_cold.stderr == ""  # Triton has leaks to tell of as Python ends
    told = json.loads(done_cold.stdout)
    assert (told["model"], told["steps"], told["gives"]) == ("load/2", 15, "scaled values")
    assert (folder / "load.pt2").is_file()
    assert (told["features"], told["known"]) == (["load", "promo"], ["promo"])
    beside = json.loads((folder / "load.pt2.json").read_text())
    assert beside.items() >= told.items()
    new, scaling = pd.read_csv(folder / "new.csv"), beside["data"]["scaling"][""]
    rows_LF = (new[told["features"]].to_numpy()[-told["steps"]:] - scaling["shift"]) / scaling["scale"]
    rows_LF[beside["task"]["context"]:, 0] = 0
    program = torch.export.load(folder / "load.pt2").module()
    scaled_BH = program(torch.tensor(rows_LF[None], dtype=torch.float32)).detach().numpy().reshape(1, -1)
    found = pd.read_csv(io.StringIO(seqsweep(folder, "predict", "load/2", "--data", "new.csv").stdout))
    np.testing.assert_allclose(scaled_BH[0] * scaling["scale"][0] + scaling["shift"][0], found["prediction"], rtol=1e-4)
    unwritten = seqsweep(folder, "export", "load", "--out", "x" * 300 + ".pt2", exit_code=9)
    assert "it cannot be written: File name too long" in unwritten.stderr.replace("\n", " ")
    assert "a program is no .pkl" in seqsweep(folder, "export", "load", "--out", "load.pkl", exit_code=4).stderr


def test_rollback_and_promote_again(folder: Path, done: dict[str, Any]) -> None:
    assert answer(folder, "rollback", "load", "--why", "try") == {"model": "load", "version": 1, "alias": "champion"}
    assert "load/1 is the first champion" in seqsweep(folder, "rollback", "load", exit_code=6).stderr
    found = answer(folder, "promote", "load", "--why", "it is better")
    assert (found["candidate"], found["alias"]) == ("load/2", "champion")
    assert any(reason.startswith("beats_champion: yes") for reason in found["reasons"])
    assert seqsweep(folder, "promote", "load").stdout == "load/2 is champion already\n"
    assert "load/1 is champion again" in seqsweep(folder, "rollback", "load").stdout


# -- what goes wrong elsewhere


def test_errors_have_their_exit_codes(folder: Path, done: dict[str, Any]) -> None:
    changed = write_sweep(folder, "weak2", name="weak", seed=99)
    assert "seed: 3 -> 99" in seqsweep(folder, "submit", changed, exit_code=6).stderr
    bad = write_sweep(folder, "bad", data={"path": "no.csv", "time": "time"})
    assert "no.csv: there is no such file" in seqsweep(folder, "submit", bad, exit_code=4).stderr
    assert "bad" not in seqsweep(folder, "list").stdout
    assert refusal(folder, "list", exit_code=1, SEQSWEEP_STORE="redis://x")["error"] == "InvalidSettings"
    assert "file is not a database" in seqsweep(folder, "list", exit_code=9, SEQSWEEP_STORE="sqlite:///load.csv").stderr
    assert "MLflow does not answer" in seqsweep(folder, "promote", "load", exit_code=9,
                                                MLFLOW_TRACKING_URI="http://127.0.0.1:1").stderr


def test_a_damaged_store_is_told_of(folder: Path, done: dict[str, Any], tmp_path: Path) -> None:
    content = bytearray((folder / "seqsweep.db").read_bytes())
    content[8192:8192 + 512] = bytes(512)
    (tmp_path / "seqsweep.db").write_bytes(content)
    for verb in ("resume", "doctor"):
        said = seqsweep(tmp_path, verb, "strong", exit_code={"resume": 9, "doctor": 10}[verb])
        assert "sqlite3 FILE .recover" in said.stderr + said.stdout


def test_a_search_in_which_nothing_can_be_learnt_fails(folder: Path) -> None:
    diverging = write_sweep(
        folder, "diverging", budget={"max_trials": 1}, parameters={
            "learning_rate": {"value": 10.0}, "optimizer": {"value": "sgd"}, "clip_norm": {"value": 0.0},
            "epochs": {"value": 40}, "batch_size": {"value": 8}, "cell": {"value": "elman"},
            "nonlinearity": {"value": "relu"}, "hidden_size": {"value": 64}},
        task={"type": "forecasting", "target": "load", "horizon": 3, "context": 12, "loss": "mse"})
    assert "no trial of diverging gave a finite mae" in seqsweep(folder, "submit", diverging, exit_code=8).stderr
    found = answer(folder, "status", "diverging")
    assert found["state"] == "failed"
    assert [failure["reason"] for failure in found["failures"]] == ["diverged"]
    assert "diverged" in seqsweep(folder, "status", "diverging").stdout
