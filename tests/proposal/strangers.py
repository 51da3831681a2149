"""Files of many shapes, as strangers have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

Maker = Callable[[Path], Path]


def wave(rows: int, season: int, seed: int = 0, noise: float = 0.3) -> npt.NDArray[np.float64]:
    draw = np.random.default_rng(seed)
    level: npt.NDArray[np.float64] = 10 + 3 * np.sin(np.arange(rows) * 2 * np.pi / season)
    return (level + draw.normal(0, noise, rows)).round(3)


def daily(folder: Path) -> Path:
    """One series with dates."""
    frame = pd.DataFrame({"date": pd.date_range("2022-01-01", periods=300).date, "visitors": wave(300, 7)})
    frame.to_csv(folder / "daily.csv", index=False)
    return folder / "daily.csv"


def half_hourly(folder: Path) -> Path:
    """Every half hour, with empty fields, gzipped."""
    frame = pd.DataFrame({"ts": pd.date_range("2024-01-01", periods=700, freq="30min"), "load": wave(700, 48)})
    frame.loc[np.random.default_rng(1).choice(700, 40, replace=False), "load"] = np.nan
    frame.to_csv(folder / "half hourly.csv.gz", index=False)
    return folder / "half hourly.csv.gz"


def missing_rows(folder: Path) -> Path:
    """Rows are missing altogether."""
    frame = pd.DataFrame({"timestamp": pd.date_range("2024-01-01", periods=400, freq="h"), "value": wave(400, 24)})
    frame.drop(index=[50, 51, 52, 200, 333]).to_csv(folder / "missing_rows.csv", index=False)
    return folder / "missing_rows.csv"


def panel(folder: Path) -> Path:
    """Several series, row by row in time, of other sizes, with a column that is constant in each."""
    frames = []
    for number, name in enumerate(["north", "south", "NA"]):
        frames.append(pd.DataFrame({
            "when": pd.date_range("2023-01-01", periods=200), "shop": name, "size": 10 * number + 1,
            "kind": ["big", "small"][number % 2], "sold": wave(200, 7, number) * 10 ** number,
            "price": np.random.default_rng(number).normal(5, 1, 200).round(2)}))
    pd.concat(frames).sort_values(["when", "shop"]).to_csv(folder / "panel.csv", index=False)
    return folder / "panel.csv"


def tabs(folder: Path) -> Path:
    """The same between tabs, one of whose series has a name that looks like a missing value."""
    rows = pd.read_csv(panel(folder), keep_default_na=False)
    rows.to_csv(folder / "tabs.txt", sep="\t", index=False)
    return folder / "tabs.txt"


def business_days(folder: Path) -> Path:
    """Prices on business days."""
    draw = np.random.default_rng(3)
    close = 100 + np.cumsum(draw.normal(0, 1, 500))
    frame = pd.DataFrame({"Date": pd.bdate_range("2022-01-03", periods=500), "Open": close + draw.normal(0, 0.2, 500),
                          "Close": close, "Adj Close": close * 1.5, "Volume": draw.integers(10**5, 10**6, 500)})
    frame.to_csv(folder / "prices.csv", index=False)
    return folder / "prices.csv"


def irregular(folder: Path) -> Path:
    """Measured whenever somebody came by."""
    draw = np.random.default_rng(4)
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.cumsum(draw.integers(30, 5000, 250)), unit="s")
    pd.DataFrame({"time": times, "level": np.cumsum(draw.normal(0, 1, 250)).round(3)}).to_csv(
        folder / "irregular.csv", index=False)
    return folder / "irregular.csv"


def no_time(folder: Path) -> Path:
    """Numbers and nothing else."""
    frame = pd.DataFrame({"x": wave(400, 24, 5), "z": np.random.default_rng(5).normal(size=400)})
    frame.to_csv(folder / "no_time.csv", index=False)
    return folder / "no_time.csv"


def parquet(folder: Path) -> Path:
    """Timestamps with a zone, truth values and categories."""
    frame = pd.DataFrame({"at": pd.date_range("2024-01-01", periods=400, freq="15min", tz="Europe/Berlin"),
                          "open": np.arange(400) % 3 == 0, "power": wave(400, 96).astype(np.float32),
                          "mode": pd.Categorical(np.array(["a", "b"])[np.arange(400) // 7 % 2])})
    frame.to_parquet(folder / "plant.parquet")
    return folder / "plant.parquet"


def npz_columns(folder: Path) -> Path:
    np.savez(folder / "columns.npz", speed=wave(300, 12, 6), torque=wave(300, 12, 7))
    return folder / "columns.npz"


def npz_sequences(folder: Path) -> Path:
    draw = np.random.default_rng(8)
    y_N = np.arange(80) % 2
    x_NTF = draw.normal(size=(80, 9, 2)) + y_N[:, None, None] * np.linspace(0, 2, 9)[:, None]
    np.savez(folder / "sequences.npz", x=x_NTF, y=y_N, lengths=draw.integers(5, 10, 80))
    return folder / "sequences.npz"


def ts(folder: Path, name: str = "gestures.ts", sequences: int = 90, seed: int = 9) -> Path:
    """Sequences of different lengths."""
    draw, lines = np.random.default_rng(seed), []
    for number in range(sequences):
        steps, label = int(draw.integers(5, 12)), number % 3
        x_TF = draw.normal(0, 0.5, (steps, 2)) + label * np.arange(steps)[:, None] / 3
        lines.append(":".join(",".join(f"{value:.3f}" for value in channel) for channel in x_TF.T) + f":{'abc'[label]}")
    head = "@problemName gestures\n@timeStamps false\n@dimensions 2\n@classLabel true a b c\n@data\n"
    (folder / name).write_text(head + "\n".join(lines) + "\n")
    return folder / name


def ts_pair(folder: Path) -> Path:
    """A training file with a test file beside it."""
    ts(folder, "Waves_TEST.ts", 60, 10)
    return ts(folder, "Waves_TRAIN.ts", 60, 11)


def long_form(folder: Path) -> Path:
    """Labelled recordings, a row a step; three of each person."""
    draw, frames = np.random.default_rng(12), []
    for number in range(90):
        steps, label = int(draw.integers(6, 12)), number % 2
        frames.append(pd.DataFrame({
            "recording": f"r{number:03d}", "frame": np.arange(steps), "person": f"p{number // 3}",
            "age": 20 + number % 7,
            "ax": draw.normal(0, 0.5, steps) + label * np.arange(steps) / 3, "ay": draw.normal(size=steps),
            "note": [f"n{k}" for k in range(steps)], "activity": ["walk", "run"][label], "code": label}))
    pd.concat(frames).to_csv(folder / "long_form.csv", index=False)
    return folder / "long_form.csv"


def texts(folder: Path) -> Path:
    """Names and texts that YAML would misread, an empty column and constant ones."""
    rows = 200
    frame = pd.DataFrame({
        "when: it was": pd.date_range("2024-01-01", periods=rows, freq="h"), 'a "quoted", name': wave(rows, 24),
        "on": wave(rows, 24, 1), "1e5": np.random.default_rng(2).normal(size=rows), "Überschuß 数 🧨": 1.0,
        "nothing": np.nan, "remark # not": [f"{{row}} {number % 9}" for number in range(rows)],
        "x" * 230: wave(rows, 5),
        "null": ["~"] * rows, "${env:HOME}": np.arange(rows) % 5, "[": [1, 2] * (rows // 2), "%": ["12"] * rows,
        "mostly": ["oops" if number == 50 else str(number % 11) for number in range(rows)]})
    frame.to_csv(folder / "te:xts #1.csv", index=False)
    return folder / "te:xts #1.csv"


def years(folder: Path) -> Path:
    """Whole numbers as times; a cycle of eleven years."""
    frame = pd.DataFrame({"year": np.arange(1700, 1900), "sunspots": wave(200, 11, 13, 0.5)})
    frame.to_csv(folder / "years.csv", index=False)
    return folder / "years.csv"


def tiny(folder: Path) -> Path:
    """Forty months."""
    frame = pd.DataFrame({"month": pd.date_range("2020-01-01", periods=40, freq="MS"), "sales": wave(40, 12, 14)})
    frame.to_csv(folder / "tiny.csv", index=False)
    return folder / "tiny.csv"


def huge(folder: Path) -> Path:
    """Very large and very small numbers, and one far out."""
    values = wave(300, 12, 15) * 1e25
    values[17] *= 4000
    frame = pd.DataFrame({"t": np.arange(300) * 0.5, "big": values, "small": wave(300, 12, 16) * 1e-25})
    frame.to_csv(folder / "huge.csv", index=False)
    return folder / "huge.csv"


def blocks(folder: Path) -> Path:
    """Series one after the other, without times, of unlike lengths."""
    frames = [pd.DataFrame({"machine": number, "cycle": np.arange(1, 60 + 7 * number),
                            "heat": wave(59 + 7 * number, 9)}) for number in range(6)]
    pd.concat(frames).to_csv(folder / "blocks.csv", index=False)
    return folder / "blocks.csv"


def slashes(folder: Path) -> Path:
    """Times as a spreadsheet exports them; a day above 12 comes late."""
    frame = pd.DataFrame({"Date": pd.date_range("2024-03-01", periods=400, freq="h").strftime("%m/%d/%Y %I:%M %p"),
                          "Sales": wave(400, 24, 17)})
    frame.to_csv(folder / "slashes.csv", index=False)
    return folder / "slashes.csv"


def first_days(folder: Path) -> Path:
    """Eleven days of a month between slashes: no number is above 12."""
    frame = pd.DataFrame({"when": pd.date_range("2024-03-01", periods=260, freq="h").strftime("%d/%m/%Y %H:%M"),
                          "heat": wave(260, 24, 18)})
    frame.to_csv(folder / "first_days.csv", index=False)
    return folder / "first_days.csv"


FILES: dict[str, tuple[Maker, str]] = {
    "daily": (daily, "forecasting"), "half_hourly": (half_hourly, "forecasting"),
    "missing_rows": (missing_rows, "forecasting"), "panel": (panel, "forecasting"),
    "tabs": (tabs, "forecasting"),
    "business_days": (business_days, "forecasting"), "irregular": (irregular, "forecasting"),
    "no_time": (no_time, "forecasting"), "parquet": (parquet, "forecasting"),
    "npz_columns": (npz_columns, "forecasting"), "npz_sequences": (npz_sequences, "classification"),
    "ts": (ts, "classification"), "ts_pair": (ts_pair, "classification"), "long_form": (long_form, "classification"),
    "texts": (texts, "forecasting"), "years": (years, "forecasting"), "tiny": (tiny, "forecasting"),
    "slashes": (slashes, "forecasting"), "first_days": (first_days, "forecasting"),
    "huge": (huge, "forecasting"), "blocks": (blocks, "forecasting")}
"""Every shape: what writes it, and the task that it suggests."""
