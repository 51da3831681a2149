"""Writes the README's section "Speed" from what the pages in `results/` claim.

    python benchmarks/summary.py

A page's claims are its table headed `| | measured | target |`; nothing else is shown, and nothing is typed by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rounds import CLAIMS, RESULTS

README = Path(__file__).parents[1] / "README.md"
SECTION = [
    "## Speed", "",
    "`make bench` runs seqsweep and its rivals in turn on the same work, writes `benchmarks/results/`, and this table",
    "from it; the pages say on what machine, with what versions, and how. A ratio is the median of its rounds' ratios,",
    "with an interval whose chance to hold the true median the page states (10 rounds: 98 %, 2 rounds: 50 %).", "",
    "| | measured | target | page |", "| --- | ---: | --- | --- |"]
BEGIN, END = "<!-- speed: written by benchmarks/summary.py -->", "<!-- /speed -->"


def claims(page: Path) -> Iterator[str]:
    """Yield the rows of a page's claims, each with a link to the page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    if CLAIMS[0] not in lines:
        return
    for line in lines[lines.index(CLAIMS[0]) + len(CLAIMS):]:
        if not line.startswith("|"):
            return
        yield f"{line} [{page.stem}](benchmarks/results/{page.name}) |"


def main() -> None:
    """Write the table between the README's two markers."""
    rows = [row for page in sorted(RESULTS.glob("*.md")) for row in claims(page)]
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    section = ["", *SECTION, *rows, ""] if rows else [""]
    README.write_text(before + BEGIN + "\n".join(section) + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
