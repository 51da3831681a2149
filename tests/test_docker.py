"""`docker/` held together without Docker: every name, flag, path and size in it agrees with what it names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from seqsweep.config.settings import VARIABLES

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
SCRIPT = (ROOT / "docker" / "controller.sh").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def copied() -> set[str]:
    return {source for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for source in line.split()[:-1]}


def test_the_image_gets_what_the_wheel_is_made_of_and_docker_is_let_see_it() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    needed = {*(path.split("/")[0] for path in wheel), "pyproject.toml", PROJECT["project"]["readme"],
              *PROJECT["project"]["license-files"]}
    assert needed <= copied()
    assert all((ROOT / source).exists() for source in copied())
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    assert ignored.count("*") == 1
    assert {line[1:] for line in ignored if line.startswith("!")} == copied()


def test_the_image_has_a_python_and_extras_that_the_package_knows() -> None:
    version = re.search(r"^FROM python:3\.(\d+)-", DOCKERFILE, re.MULTILINE)
    least = re.fullmatch(r">=3\.(\d+)", PROJECT["project"]["requires-python"])
    assert version
    assert least
    assert int(version[1]) >= int(least[1])
    assert set(re.findall(r"extras\['(\w+)'\]", DOCKERFILE)) <= PROJECT["project"]["optional-dependencies"].keys()


def test_services_name_services_volumes_and_variables_that_exist() -> None:
    controller = SERVICES["controller"]
    assert set(VARIABLES.values()) <= controller["environment"].keys()
    hosts = {re.sub(r"^.*[/@]", "", controller["environment"][name].removesuffix("/seqsweep")).split(":")[0]
             for name in VARIABLES.values()}
    assert hosts == {"store", "mlflow", "ray-head"}
    assert hosts <= SERVICES.keys()
    for service in SERVICES.values():
        assert set(service.get("depends_on", ())) <= SERVICES.keys()
        for volume in service.get("volumes", ()):
            assert volume.startswith("${PWD") or volume.split(":")[0] in COMPOSE["volumes"]
    for name, condition in controller["depends_on"].items():
        assert condition["condition"] == "service_healthy"
        assert "healthcheck" in SERVICES[name]
    assert [name for name, service in SERVICES.items() if "build" in service] == ["ray-head"]


def test_no_port_is_open_to_other_machines_and_no_secret_is_written() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert ("PASSWORD" not in name and "TOKEN" not in name) or value.startswith("${")
            assert "${" not in value or value.startswith("${")  # a password inside a URL would have to be escaped


@pytest.mark.parametrize(("module", "verb", "names"), [
    ("ray.scripts.scripts", "start", ("ray-head", "ray-worker", "controller")), ("mlflow", "server", ("mlflow",))])
def test_ray_and_mlflow_know_the_options_they_are_started_with(module: str, verb: str, names: tuple[str, ...]) -> None:
    told = subprocess.run([sys.executable, "-m", module, verb, "--help"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"--[a-z-]+", told.stdout))
    for name in names:
        words = SCRIPT.split() if name == "controller" else SERVICES[name]["entrypoint"]
        used = {word for word in words if word.startswith("--")}
        assert used
        assert used <= known


def test_rays_objects_fit_into_the_shared_memory_of_their_container() -> None:
    store = {word for name in ("ray-head", "ray-worker") for word in SERVICES[name]["entrypoint"] if word.isdigit()}
    store |= set(re.findall(r"--object-store-memory (\d+)", SCRIPT))
    sizes = {SERVICES[name]["shm_size"] for name in ("ray-head", "ray-worker", "controller")}
    assert sizes == {"2gb"}
    assert max(map(int, store)) < 2 * 2**30


@pytest.mark.parametrize(("verb", "joins"), [
    ("submit", True), ("resume", True), ("plan", True), ("leaderboard", False)])
def test_the_controller_is_a_node_of_the_cluster_while_it_trains(tmp_path: Path, verb: str, joins: bool) -> None:
    run = controller(tmp_path, "exit 0", verb, "my sweep.yaml")
    assert (run.returncode, run.stdout, run.stderr) == (6, f"{verb}|my sweep.yaml|", "")
    calls = (tmp_path / "calls").read_text(encoding="utf-8").split("\n") if joins else []
    assert [call.split()[:3] for call in calls if call] == \
        ([["start", "--address", "ray-head:6379"], ["stop"]] if joins else [])


def test_a_cluster_that_lets_nobody_in_is_told_in_rays_words(tmp_path: Path) -> None:
    run = controller(tmp_path, "echo no; exit 1", "submit", "x.yaml")
    assert (run.returncode, run.stdout, run.stderr) == (9, "", "no\n")


def controller(folder: Path, ray: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script beside a stand-in of `ray`, and one of `seqsweep` that ends with 6."""
    for name, text in (("ray", f'echo "$@" >> "{folder}/calls"; {ray}'), ("seqsweep", "printf '%s|' \"$@\"; exit 6")):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return subprocess.run(["sh", ROOT / "docker" / "controller.sh", *arguments], capture_output=True, text=True,
                          env={"PATH": f"{folder}:{os.environ['PATH']}", "RAY_ADDRESS": "ray-head:6379"})
