"""The files of the user's own code that a sweep names: found beside it, read, and judged without running them."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from seqsweep.config.document import Node
from seqsweep.config.own import ENTRY, KINDS, Own, Refusal, imports_of, parsed, signature_of
from seqsweep.config.problems import Place, Problems, suggestion

_LARGEST = 1 << 18


def take_code(root: Node, folder: Path, problems: Problems) -> bool:
    """Put the text of each file that the sweep names beside its entry; returns whether all could be taken.

    `folder`: where the sweep lies. Nothing is run.
    """
    before = len(problems.found)
    for section in KINDS:
        home = root.children.get(section)
        if home is None:
            continue
        if (written := home.children.pop("code", None)) is not None:
            problems.add(written.key, f'unknown key "code" under {section}', "entry: FILE.py:NAME")
        node, kind = home.children.get("entry"), home.children.get("type")
        if section == "task" and kind is not None and kind.value == "anomaly":
            continue  # its learner is chosen by its scorer: `entry` is no key there
        if node is None or not isinstance(node.value, str) or not _is_entry(node.value):
            continue  # a wrong form is reported with the structure
        code = _read(folder, node, problems)
        if code is None:
            continue
        own = Own(node.value, code)
        try:
            _check_alone(own, folder)
            signature_of(own, section)
        except Refusal as refusal:
            problems.add(Place(_shown(folder / own.file), refusal.line, 1), refusal.what, refusal.right)
            continue
        home.children["code"] = Node(code, node.place, node.key, "code")
        if section == "metric":
            _name_metric(home, own, problems)
    return len(problems.found) == before


def _name_metric(metric: Node, own: Own, problems: Problems) -> None:
    """Call the metric as its function is called."""
    if (written := metric.children.get("name")) is not None:
        problems.add(written.key, "a metric of your own has its function's name", "remove it")
    metric.children["name"] = Node(own.name, metric.place, metric.key, "name")


def _is_entry(text: str) -> bool:
    return len(text) <= 200 and re.fullmatch(ENTRY, text) is not None


def _read(folder: Path, node: Node, problems: Problems) -> str | None:
    """The text of a file within the folder."""
    file = str(node.value).rpartition(":")[0]
    path = folder / file
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            problems.add(node.place, f"{file} leads out of the sweep's folder", "the file itself, beside the sweep")
            return None
        if not path.is_file():
            near = [other.name for other in sorted(path.parent.glob("*.py"))[:1000]] if path.parent.is_dir() else []
            problems.add(node.place, f"there is no file {_shown(path)}",
                         suggestion(path.name, near, "files there") or "a file in the sweep's folder")
            return None
        data = path.read_bytes() if path.stat().st_size <= _LARGEST else b"\0"
        code = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        problems.add(node.place, f"{_shown(path)} cannot be read: {error}", "Python code in UTF-8")
        return None
    if "\0" in code:
        problems.add(node.place, f"{_shown(path)} is larger than 256 KiB, or no text", "Python code in UTF-8")
        return None
    return code.replace("\r\n", "\n")  # else a checkout on another system would be another sweep


def _shown(path: Path) -> str:
    """From the working folder where it lies below it."""
    try:
        return os.fspath(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return os.fspath(path)


def _check_alone(own: Own, folder: Path) -> None:
    """Refuse imports of files that would not travel with this one."""
    home = (folder / own.file).parent
    for name, line in imports_of(parsed(own)):
        beside = not name or (home / f"{name}.py").is_file() or (home / name / "__init__.py").is_file()
        if beside and name not in sys.stdlib_module_names and not _is_installed(name):
            raise Refusal(line, f"it imports {name or 'a file'} from beside it, and only {own.file} goes to workers",
                          "all in one file, or an installed package")


def _is_installed(name: str) -> bool:
    from importlib.metadata import packages_distributions  # looks through every installed package

    return name in packages_distributions()
