"""Writes `results/README.md` from what the pages in `results/` claim, and of it the README's section "Speed".

    python benchmarks/summary.py

A page's claims are its table headed `| | measured | target |`; nothing else is shown, and nothing is typed by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rounds import CLAIMS, RESULTS

README = Path(__file__).parents[1] / "README.md"
IN_README = ("loop", "orchestration", "scale", "short_trials")
"""How the names of pages on speed begin; the others are on endurance."""
HOW = [
    "`make bench` runs seqsweep and its rivals in turn on the same work and writes the pages, which say on what",
    "machine, with what versions, and how. A ratio is the median of its rounds' ratios, with an interval whose chance",
    "to hold the true median the page states (10 rounds: 98 %, 2 rounds: 50 %)."]
TABLE = ["", "| | measured | target | page |", "| --- | ---: | --- | --- |"]
BEGIN, END = "<!-- speed: written by benchmarks/summary.py -->", "<!-- /speed -->"


def claims(page: Path, folder: str) -> Iterator[str]:
    """Yield the rows of a page's claims, each with a link to the page from beside a folder."""
    lines = page.read_text(encoding="utf-8").splitlines()
    if CLAIMS[0] not in lines:
        return
    for line in lines[lines.index(CLAIMS[0]) + len(CLAIMS):]:
        if not line.startswith("|"):
            return
        yield f"{line} [{page.stem}]({folder}{page.name}) |"


def main() -> None:
    """Write the whole table, and the part between the README's two markers."""
    pages = [page for page in sorted(RESULTS.glob("*.md")) if page.name != "README.md"]
    rows = [row for page in pages for row in claims(page, "")]
    (RESULTS / "README.md").write_text("\n".join(["# Measured", "", *HOW, *TABLE, *rows, ""]), encoding="utf-8")
    quoted = [row for page in pages if page.stem.startswith(IN_README) for row in claims(page, "benchmarks/results/")]
    more = ["", "How it stands kills, outages and time is in [the whole table](benchmarks/results/README.md)."]
    section = ["", "## Speed", "", *HOW, *TABLE, *quoted, *more, ""] if quoted else [""]
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    README.write_text(before + BEGIN + "\n".join(section) + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
