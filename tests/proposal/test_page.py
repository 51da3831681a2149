"""What is written is read again as it was meant, whatever a file's names are made of."""

from __future__ import annotations

import random

import pytest

from seqsweep.config.document import read_text
from seqsweep.config.problems import Problems
from seqsweep.proposal.page import Line, duration_words, listed, named, render, written

NAMES = ("load", "on", "null", "~", "", " ", "1e5", "0x1F", "12:30", "a: b", "a #b", "#", "- a", "[", "{", "%", "@",
         "`", "'", '"', "\\", "a\\n", "\n", "\t", "\0", "\x7f", "\x85", "\u2028", "\ufeff", "é", "数", "🧨", "\u202e",
         "&a", "*a", "!!int", "---", "...", "? x", "|", ">", "${env:HOME}", "a" * 200, "rdatasets:a/b", "/tmp/x.csv",
         "1_000", ".5")


def read(text: str) -> object:
    problems = Problems()
    root = read_text(text, "page.yaml", problems)
    assert root is not None and not problems, problems.listed()
    return root.plain()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_back(name: str) -> None:
    tree = {"a": name, "b": {"c": [name, 1, 0.5, True], name or "d": 1e-6}}
    page = render([f"about {named(name)}, {listed([name] * 20)}"], [
        Line("a", tree["a"], f"{named(name)} " * 30), Line("b", (Line("c", [name, 1, 0.5, True], named(name)),
                                                                 Line(written(name or "d"), 1e-6)))])
    found = read(page)
    assert found == {"a": name, "b": {"c": (name, 1, 0.5, True), name or "d": 1e-6}}
    assert max(len(line) for line in page.splitlines()) <= 1300
    assert all(line.lstrip().startswith("#") for line in page.splitlines() if "about" in line)


def test_any_text_comes_back() -> None:
    chance = random.Random(0)
    for _ in range(500):
        text = "".join(chr(chance.choice((chance.randrange(0x80), chance.randrange(0xD800), chance.randrange(
            0xE000, 0x110000)))) for _ in range(chance.randrange(1, 12)))
        assert read(f"# {named(text)}\na: {written(text)}\n") == {"a": text}, repr(text)


def test_lengths_of_time() -> None:
    assert [duration_words(seconds) for seconds in (1, 90, 60, 5400, 3600, 86400, 1209600, 0.5)] == [
        "a second", "90 seconds", "a minute", "90 minutes", "an hour", "a day", "2 weeks", "0.5 seconds"]
