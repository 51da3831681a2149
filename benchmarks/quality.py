"""Whether speed costs quality: the shipped sweeps with torch's layers, with the kernels a probe chooses, and in packs.

    python benchmarks/quality.py electricity                       # 5 seeds: about 15 minutes on 2 cores
    python benchmarks/quality.py japanese_vowels --data FOLDER     # where the two .ts files lie

Every search has the same number of trials. Writes results/quality_<sweep>.md: the best validation metric of each seed,
what was reached when the fastest variant had ended, and the seconds of search.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from pathlib import Path
from typing import Any

import rounds

from seqsweep.api import submit
from seqsweep.config.loader import load_sweep
from seqsweep.config.settings import Settings
from seqsweep.config.sweep import Sweep
from seqsweep.ledger import read
from seqsweep.store.records import Store

VARIANTS: dict[str, dict[str, Any]] = {
    "torch's layers": {"kernel": "torch", "pack": "off"},
    "as probed": {"kernel": "auto", "pack": "auto"},
    "packs of 4": {"kernel": "compiled", "pack": 4},
}


def run(document: dict[str, Any], variant: str, seed: int, folder: Path) -> dict[str, Any]:
    """Search once; return the best value, the best value by seconds since the first trial began, and the seconds."""
    name = f"{document['name']}-{list(VARIANTS).index(variant)}-{seed}"
    settings = Settings(f"sqlite:///{folder / name}.db", f"sqlite:///{folder / name}-mlflow.db", "local")
    submit(Sweep.model_validate_json(json.dumps(document | {
        "name": name, "seed": seed, "register": None, "promote": None, "ensemble": None,
        "budget": {"max_trials": document["budget"]["max_trials"]},  # each variant has as many trials, however slow
        "resources": document["resources"] | VARIANTS[variant]})), settings)
    with Store.open(settings.store) as store:
        records, spent = store.trials(name), read(store.sweep(name).facts)
    began = min(record.started for record in records)
    known = [(record.ended - began, record.outcome.value) for record in records
             if record.ended and record.outcome and record.outcome.value is not None]
    return {"ended": known, "trials": len(records), "search_wall": max(at for at, _ in known),
            "core": spent.get("train", math.nan)}


def best(result: dict[str, Any], sign: int, until: float = math.inf) -> float:
    """Return the best value of the trials that had ended by a time."""
    return sign * min((sign * value for at, value in result["ended"] if at <= until), default=math.nan)


def page(sweep: str, metric: str, sign: int, found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return what the page says."""
    seeds = len(next(iter(found.values())))
    fastest = [min(found[name][seed]["search_wall"] for name in found) for seed in range(seeds)]
    first = next(iter(found))
    lines = [f"The best validation {metric} of {found[first][0]['trials']} trials, {seeds} seeds; in brackets the "
             f"standard error of the difference from {first}, seed by seed.", "",
             "| | seconds of search | equal trials | difference | when the fastest had ended |",
             "| --- | ---: | ---: | ---: | ---: |"]
    for name, results in found.items():
        values = [best(result, sign) for result in results]
        gaps = [value - best(result, sign) for value, result in zip(values, found[first], strict=True)]
        error = statistics.stdev(gaps) / math.sqrt(seeds) if seeds > 1 and any(gaps) else 0.0
        early = [best(result, sign, until) for result, until in zip(results, fastest, strict=True)]
        lines.append(f"| {name} | {statistics.median(result['search_wall'] for result in results):.0f} | "
                     f"{statistics.fmean(values):.4g} | {statistics.fmean(gaps):+.2g} ({error:.2g}) | "
                     f"{statistics.fmean(early):.4g} |")
    by_seed = (f"{name} {', '.join(f'{best(result, sign):.4g}' for result in results)}"
               for name, results in found.items())
    return [*lines, "", "Seed by seed: " + "; ".join(by_seed)]


def main() -> None:
    """Search with every variant and seed, in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", help="the name of a shipped sweep")
    parser.add_argument("--data", type=Path, help="folder of its data files")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    chosen = parser.parse_args()
    document = load_sweep(chosen.sweep).model_dump(mode="json", by_alias=True)
    if chosen.data:
        document["data"] = {key: str(chosen.data / Path(value).name) if value and key in ("path", "test", "val")
                            else value for key, value in document["data"].items()}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen.variants}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(chosen.seeds):
            for variant in chosen.variants:
                result = run(document, variant, seed, Path(folder))
                found[variant].append(result)
                sign = -1 if document["metric"]["name"] in ("accuracy", "balanced_accuracy", "f1") else 1
                print(seed, variant, best(result, sign), f"{result['search_wall']:.1f} s", flush=True)
    lines = page(chosen.sweep, document["metric"]["name"], sign, found)
    rounds.RESULTS.mkdir(exist_ok=True)
    target = rounds.RESULTS / f"quality_{chosen.sweep}.md"
    packages = ("seqsweep", "torch", "optuna", "ray")
    target.write_text("\n".join([f"# Quality: {chosen.sweep}", "", *lines, "", f"- Device: {rounds.device()}.",
                                 f"- Versions: {rounds.versions(*packages)}.", f"- Commit {rounds.commit()}.",
                                 f"- Command: `{rounds.command()}`.", ""]), encoding="utf-8")
    print(target.read_text())


if __name__ == "__main__":
    main()
