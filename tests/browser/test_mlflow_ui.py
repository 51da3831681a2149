"""What the MLflow UI shows of a real sweep, in a real browser, after the commands that a user types."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import seqsweep
from seqsweep.config.settings import load_settings
from seqsweep.result import SweepResult

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(
    not CHROMIUM or not CHROMEDRIVER, reason="chromium or chromedriver is not on the PATH")]

SWEEP = """
name: tides
experiment: harbour
task: {type: forecasting, target: level, horizon: 4, context: 12}
data: {path: level.csv, time: hour}
split: {by: time, val: 20%, test: 20%}
metric: {name: mae}
method: random
seed: 2
parameters:
  cell: {values: [gru, lstm]}
  hidden_size: {values: [4, 8]}
  learning_rate: {min: 1e-3, max: 1e-1, log: true}
  epochs: {value: 2}
early_terminate: {type: none}
budget: {max_trials: 5}
resources: {workers: 0}
register: {model: tides, alias: challenger}
"""
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
         "--window-size=1600,1000")


class Page:
    """One tab of a browser on the MLflow UI at `address`."""

    def __init__(self, address: str, profile: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        self.address = address
        self.driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))

    def open(self, place: str, shows: str) -> None:
        """Go to a place of the UI and wait for a text that appears when it is loaded."""
        self.driver.get("about:blank")  # else a place that differs in its fragment only is not loaded anew
        self.driver.get(f"{self.address}/{place}")
        self.wait(lambda: shows in self.text(), f"{shows!r} at {place}")

    def wait(self, holds: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"no {what}; the page says:\n{self.text()}"
            time.sleep(0.2)

    def open_trials(self) -> None:
        """Open the experiment, and the view that the sweep saved in it."""
        self.open("#/experiments/1/runs?workflowType=machine_learning", "Views")
        self.click("//button[normalize-space()='Views']")
        self.click("//*[normalize-space()='tides: trials, best first']")
        self.wait(lambda: "Sort: best_val_mae" in self.text() and len(self.table()) > 1, "trials")

    def click(self, xpath: str) -> None:
        """Click what there is or will be at `xpath`; tips that MLflow lays over the page are closed before."""
        def clicked() -> bool:
            from selenium.common.exceptions import WebDriverException

            try:
                self.driver.execute_script("document.querySelectorAll('[aria-label=Close]').forEach(it => it.click())")
                self.driver.find_element("xpath", xpath).click()
            except WebDriverException:
                return False
            return True

        self.wait(clicked, xpath)

    def lines(self) -> dict[str, list[str]]:
        """The rows of plain tables: their cells by their first one."""
        rows: list[list[str]] = self.driver.execute_script(
            "return [...document.querySelectorAll('tr')].map(row => [...row.cells].map(cell => cell.innerText.trim()))")
        return {first: rest for first, *rest in rows}

    def text(self) -> str:
        """All that the page says."""
        return str(self.driver.execute_script("return document.body.innerText")).replace("\N{NO-BREAK SPACE}", " ")

    def table(self) -> list[dict[str, str]]:
        """The rows of the table of runs, top to bottom: text by column."""
        cells: list[list[str]] = self.driver.execute_script(
            "return [...document.querySelectorAll('.ag-row .ag-cell')].map(cell => "
            "[cell.parentElement.getAttribute('row-index'), cell.getAttribute('col-id'), cell.innerText.trim()])")
        rows: dict[int, dict[str, str]] = {}
        for index, column, text in cells:
            rows.setdefault(int(index), {})[column] = text
        return [rows[index] for index in sorted(rows)]


@dataclass(frozen=True)
class Harbour:
    """A folder in which a sweep was run."""

    folder: Path
    result: SweepResult


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    folder = tmp_path_factory.mktemp("harbour")
    hour = np.arange(300)
    level = 3 + np.sin(hour * 2 * np.pi / 12) + np.random.default_rng(0).normal(0, 0.1, 300)
    pd.DataFrame({"hour": pd.date_range("2024-01-01", periods=300, freq="h"), "level": level}).to_csv(
        folder / "level.csv", index=False)
    (folder / "tides.yaml").write_text(SWEEP)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield Harbour(folder, seqsweep.submit("tides.yaml", load_settings(folder, {})))


@pytest.fixture(scope="module")
def page(harbour: Harbour, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser on `mlflow ui`, started with no flags but a port in the sweep's folder."""
    port = _free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (harbour.folder / "ui.log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"],
                                  cwd=harbour.folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    opened: Page | None = None
    try:
        _await(f"http://127.0.0.1:{port}/health", server, harbour.folder / "ui.log")
        opened = Page(f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("profile"))
        yield opened
    finally:
        if opened is not None:
            opened.driver.quit()
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _await(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
    raise AssertionError(f"mlflow ui did not start:\n{log.read_text()}")


def trials_by_value(result: SweepResult) -> list[tuple[str, float]]:
    """Name of each trial's run and its value, best first."""
    value = result.trials["value"].sort_values()
    return [(f"tides-{number}", float(each)) for number, each in value.items()]


def test_a_click_on_the_experiment_shows_the_sweep_with_its_trials_folded_in(page: Page, harbour: Harbour) -> None:
    page.open("#/experiments", "harbour")
    page.click("//a[text()='harbour']")
    page.click("//*[normalize-space()='Got it']")  # a tip that covers the page
    page.click("//a[normalize-space()='Training runs']")
    page.wait(lambda: len(page.table()) == 1, "single row")
    sweep, = page.table()
    assert sweep["attributes.`Run Name`"].endswith("tides")
    assert sweep["attributes.`Dataset`"].startswith(f"level.csv ({harbour.result.status()['data_hash'][:8]}")


def test_the_saved_view_lists_the_trials_best_first(page: Page, harbour: Harbour) -> None:
    page.open_trials()
    expected = trials_by_value(harbour.result)
    page.wait(lambda: len(page.table()) == len(expected), f"{len(expected)} rows")
    rows = page.table()
    assert [row["attributes.`Run Name`"].split()[-1] for row in rows] == [name for name, _ in expected]
    assert [float(row["metrics.`best_val_mae`"]) for row in rows] == pytest.approx([value for _, value in expected])
    assert {row["tags.`seqsweep.state`"] for row in rows} == {"complete"}
    best = harbour.result.best
    assert (rows[0]["params.`cell`"], rows[0]["params.`hidden_size`"]) == (
        best.params["cell"], str(best.params["hidden_size"]))
    test_mae = harbour.result.leaderboard().query("kind == 'winner'")["test_mae"].item()
    assert [row["metrics.`test_mae`"] for row in rows[1:]] == ["-"] * (len(rows) - 1)
    assert float(rows[0]["metrics.`test_mae`"]) == pytest.approx(test_mae)

    page.click("//div[@role='columnheader' and @col-id='metrics.`best_val_mae`']")  # the other way round
    page.wait(lambda: page.table()[0]["attributes.`Run Name`"].endswith(expected[-1][0]), "worst trial on top")


def test_two_trials_are_compared_side_by_side(page: Page, harbour: Harbour) -> None:
    page.open_trials()
    two = dict(trials_by_value(harbour.result)[:2])
    for row in range(2):
        page.click(f"//*[@row-index='{row}']//input[@type='checkbox']")
    page.click("//button[normalize-space()='Compare']")
    page.wait(lambda: "Comparing 2 Runs from 1 Experiment" in page.text(), "comparison")
    lines = page.lines()
    assert sorted(lines["Run Name:"]) == sorted(two)
    order = [int(name.removeprefix("tides-")) for name in lines["Run Name:"]]
    trials = harbour.result.trials.loc[order]
    for name in ("cell", "hidden_size", "learning_rate"):
        assert lines[name] == [str(value) for value in trials[name]]
    assert lines["seqsweep.seed"][0] != lines["seqsweep.seed"][1]
    figures = {"best_val_mae", "train_loss", "grad_norm", *(f"{round(value, 3):g}" for value in two.values())}
    page.wait(lambda: figures <= {line.strip() for line in page.text().splitlines()}, f"{figures}")


def test_the_sweeps_own_run_says_who_won(page: Page, harbour: Harbour) -> None:
    page.open_trials()
    winner = f"tides-{harbour.result.best.number}"
    page.click(f"//a[normalize-space()='{winner}']")
    page.wait(lambda: "Parent run" in page.text(), "run of the winner")
    page.click("//*[text()='Parent run']/following::a[normalize-space()='tides'][1]")
    page.wait(lambda: harbour.result.headline in page.text(), "headline")
    assert "level.csv" in page.text()


def test_the_registered_model_is_told_with_its_version_alias_and_figures(page: Page, harbour: Harbour) -> None:
    page.open("#/models/tides", "Version 1")
    assert "@ challenger" in page.text()
    assert "Forecasts level 4 steps ahead from the last 12." in page.text()
    page.click("//a[normalize-space()='Version 1']")
    page.wait(lambda: harbour.result.headline in page.text(), "description of the version")
    winner, *baselines = harbour.result.leaderboard().query("kind != 'trial'").to_dict("records")
    said = page.text()
    assert "@ challenger" in said
    for row in (winner, *baselines):
        cells = next(line.split() for line in said.splitlines() if line.startswith(row["name"]))
        assert f"{row['test_mae']:.4g}" in cells
    page.click(f"//a[normalize-space()='tides-{harbour.result.best.number}']")
    page.wait(lambda: "Registered models" in page.text(), "source run")
