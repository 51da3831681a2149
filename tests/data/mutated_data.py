"""Run as a program: so many damaged data files through the whole preparation.

    python mutated_data.py FIRST COUNT

Prints what `mutations.judge` says of them.
"""

from __future__ import annotations

import gzip
import io
import random
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from mutations import damaged, judge  # noqa: E402
from small_sweeps import classification, forecasting, write_classes, write_series  # noqa: E402

from seqsweep.config.loader import load_sweep  # noqa: E402
from seqsweep.config.sweep import Sweep  # noqa: E402
from seqsweep.data.prepare import prepare  # noqa: E402
from seqsweep.errors import InvalidData  # noqa: E402

LIMIT = 4 << 30
"""Bytes of address space: what a file claims to hold is not set aside unseen."""
LONGEST = 10.0
WORDS = (
    b"", b",", b",,", b"\n", b"\n\n", b"\r\n", b"\r", b"\"", b"\"\"", b";", b"\0", b"\xff", b"\xef\xbb\xbf", b"nan",
    b"NA", b"inf", b"-inf", b"1e400", b"9" * 400, b"1e308", b"-1e308", b"-", b"1-1", b"2024-13-01", b"1677-01-01",
    b"9999-12-31", b"12/31/2024 1:00 PM", b"1/2/2024", b"1/2/24", b"/", b" PM",
    b"0", b"a", b"?", b"load", b"time", b"series", b"label", b"true", b"1_0", b"0x1F", b"(1,2)", b":",
    b"@data", b"@classLabel true a b\n", b"@dimensions 9999999999\n", b"@timeStamps true\n", b"a" * 200_000,
    "é".encode(), b" ", b"\t", b" 1", b"+1", b"1,2,3,4,5,6",
)


@dataclass(frozen=True)
class Kind:
    """A good file, its sweep, and how it is damaged."""

    ending: str
    data: bytes
    sweep: Callable[[Path], dict[str, Any]]
    wrap: Callable[[bytes, random.Random], bytes] = damaged


def kinds(folder: Path) -> list[Kind]:
    """A file of every format."""
    series = write_series(folder / "load.csv", 200)
    classes = write_classes(folder / "trend.csv", 60)
    series.to_parquet(folder / "load.parquet")
    x_NTF = np.random.default_rng(0).normal(size=(60, 6, 2))
    y_N = np.array(["down", "up"])[np.arange(60) % 2]
    lines = [":".join(",".join(f"{v:.3f}" for v in channel) for channel in one.T) + f":{y}"
             for one, y in zip(x_NTF, y_N, strict=True)]
    head = "@problemName x\n@timeStamps false\n@dimensions 2\n@classLabel true down up\n@data\n"
    ts = (head + "\n".join(lines)).encode()
    npz, columns = io.BytesIO(), io.BytesIO()
    np.savez(npz, x=x_NTF, y=y_N, lengths=np.full(60, 5))
    np.savez_compressed(columns, load=series["load"].to_numpy(), promo=series["promo"].to_numpy())
    later = pd.date_range("2024-01-08", periods=200, freq="h")
    slashes = series.assign(time=later.strftime("%m/%d/%Y %I:%M %p")).to_csv(index=False).encode()
    csv, trend = (folder / "load.csv").read_bytes(), (folder / "trend.csv").read_bytes()
    assert len(classes)
    return [Kind(".csv", csv, forecasting, words), Kind(".csv", slashes, forecasting, words),
            Kind(".csv", trend, classification, words),
            Kind(".csv.gz", csv, forecasting, zipped), Kind(".csv.gz", gzip.compress(csv), forecasting),
            Kind(".parquet", (folder / "load.parquet").read_bytes(), forecasting),
            Kind(".npz", npz.getvalue(), sequences), Kind(".npz", npz.getvalue(), sequences, packed_again),
            Kind(".npz", columns.getvalue(), numbers, packed_again), Kind(".ts", ts, sequences, words),
            Kind(".ts.gz", ts, sequences, zipped)]


def words(data: bytes, chance: random.Random) -> bytes:
    return damaged(data, chance, WORDS)


def zipped(data: bytes, chance: random.Random) -> bytes:
    return gzip.compress(damaged(data, chance, WORDS), 1)


def packed_again(data: bytes, chance: random.Random) -> bytes:
    """Damage one array inside the archive, which is whole around it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(packed, "w") as target:
        hit = chance.choice(source.namelist())
        for name in source.namelist():
            content = source.read(name)
            if name == hit:
                head = chance.random() < 0.7  # where shape and type stand
                content = damaged(content[:128], chance) + content[128:] if head else damaged(content, chance)
                name = chance.choice((name, name, name, "../x.npy", "y.npy", "extra.npy", "x"))
            target.writestr(name, content)
    return packed.getvalue()


def sequences(path: Path) -> dict[str, Any]:
    tree = classification(path)
    return tree | {"task": {"type": "classification"}, "data": {"path": str(path)}}


def numbers(path: Path) -> dict[str, Any]:
    tree = forecasting(path)
    return tree | {"data": {"path": str(path)}}


def sweep_of(kind: Kind, number: int, folder: Path) -> Sweep:
    chance = random.Random(number)
    path = folder / f"data{kind.ending}"
    path.write_bytes(kind.wrap(kind.data, chance))
    tree = kind.sweep(path)
    if chance.random() < 0.3:
        tree["prepare"] = {"fill": chance.choice(("interpolate", "forward", "zero", "mean")), "indicator": True,
                           "scale": chance.choice(("standard", "robust", "minmax"))}
    return load_sweep(tree)


def prepare_damaged(number: int, files: list[Kind], folder: Path) -> None:
    prepare(sweep_of(files[number % len(files)], number, folder))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        made = kinds(Path(name))
        judge(lambda number: prepare_damaged(number, made, Path(name)), InvalidData, memory=LIMIT, longest=LONGEST)
