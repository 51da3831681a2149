"""What preparation hands to training: flat arrays that map into every worker without a copy. numpy and pydantic only.

Shapes: T rows of all series end to end, F features, S series, C static features, D targets, N samples of a part.
A sample is a stretch of rows: a window (context + horizon) in forecasting and where anomalies are sought, a whole
sequence in classification, either of them in regression.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from seqsweep.config.base import Config

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]


ELAPSED = "time:elapsed"
"""Name of the feature that tells how long ago the row before was."""


def since_name(column: str) -> str:
    """Name of the feature that tells how long ago a column was last seen before a row."""
    return f"since:{column}"


def indicator_name(column: str) -> str:
    """Name of the 0/1 feature that tells where a column is missing."""
    return f"missing:{column}"


class Scaling(Config):
    """`scaled = (x - shift) / scale`, per feature; fitted on the training part."""

    shift: tuple[float, ...]
    scale: tuple[float, ...]


class DataInfo(Config):
    """What must be known to read the arrays, and to prepare new data in the same way. Travels in the model package."""

    features: tuple[str, ...]
    """Names of the F columns of `values_TF`, derived ones (calendar, lags, indicators) included."""
    targets: tuple[int, ...] = ()
    """Which features are the D targets, of anomalies all raw columns; empty in classification and regression."""
    target_scaling: Scaling | None = None
    """Regression: of the one target, which is no feature."""
    known: tuple[int, ...] = ()
    """Which features are known ahead (calendar, long lags, `task.known`)."""
    static_features: tuple[str, ...] = ()
    """Names of the C columns of `static_SC` after one-hot encoding."""
    static_categories: dict[str, tuple[str, ...]] = {}
    """Categories of each static text column, in the order of their one-hot columns."""
    static_scaling: Scaling | None = None
    """Of the static number columns, in the order of `static_features`; None where there are none."""
    added_rows: int = 0
    """Rows that no file holds, added for steps without one and filled as missing values are."""
    columns: tuple[str, ...]
    """Raw value columns in the order they are read, before derived ones are added."""
    raw: tuple[str, ...] = ()
    """Columns of the file where the user's own code made others of them; else empty."""
    classes: tuple[str, ...] = ()
    """Class labels in the order of the model's outputs; empty but in classification."""
    series: tuple[str, ...] = ()
    """Series ids in the order of `static_SC` and of `scaling`."""
    scaling: dict[str, Scaling] = {}
    """Of the raw columns, by series id; the key "" holds the figures for all series, used for unseen ones."""
    fill_values: tuple[float, ...] = ()
    """Of each raw column: what leads a series that begins with a missing value (training mean)."""
    freq: str = ""
    """Distance of two steps as a pandas offset; empty where there is no time."""
    time: Literal["", "timestamp", "number"] = ""
    """What the time column holds; timestamps too where times follow from `data.start`."""
    dates: Literal["", "day_first", "month_first"] = Field(default="", exclude_if=lambda order: not order)
    """What comes first where the time column writes 12/31/2024, for new rows to be read alike; empty where it does not,
    and then not written: packages are what they were before it was known."""
    time_unit: float = 1.0
    """A number in the time column is `times_T * time_unit`."""
    time_step: int = 0
    """Distance of two steps in units of `times_T`; 0 where it varies (months) or there is no time."""
    start: str = ""
    """ISO time of the first row of the first series where the file has no time column."""
    elapsed_scale: float = 0.0
    """Mean time between the training rows of a series, in units of the time column (timestamps: nanoseconds); what
    `time:elapsed` and `since:<column>` were divided by. 0: there are no such features."""
    difference_scales: tuple[float, ...] = ()
    """Deviation over the training rows of each `<target>:diff<steps>` feature, before it was divided by it."""
    seasons: tuple[int, ...] = ()
    """Candidate seasonal periods in steps, shortest first, from freq: half-hourly gives (48, 336); where there is none,
    the seasons of `prepare.differences`."""
    mase_season: int = 0
    """Steps of the seasonal naive forecast that is the unit of MASE; 0: the longest of `seasons`, or 1."""
    data_hash: str
    """SHA-256 of the columns used and of how they were split and prepared."""


class Block(Config):
    """Neighbouring rows of a file."""

    first: int
    """Number of the first row, as errors write it."""
    hash: str
    """Of the values of the rows, each with its place; those of neighbouring blocks add up, modulo 2**64."""


class Outline(Config):
    """A sketch of a file that was read, to tell later what of it has changed."""

    file: str
    rows: int
    last: int
    """Number of the last row, as errors write it."""
    columns: dict[str, str]
    """Hash of each column that is used."""
    block_rows: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of one part, in a fixed order."""

    start_N: Ints
    """First row in `values_TF`."""
    length_N: Ints
    """Rows; context + horizon in forecasting."""
    series_N: Ints
    """Row in `static_SC`, `shift_SD`, `scale_SD`."""
    label_N: Ints
    """Class index; empty but in classification."""
    key_N: Keys
    """Identity of each sample's target rows or of the row itself: stable when data grow."""
    target_N: Floats = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    """Regression: the number to tell, scaled; nan where it is not known. Else empty."""

    def __len__(self) -> int:
        return len(self.start_N)


@dataclass(frozen=True, eq=False)
class Prepared:
    """One fold of a data set, scaled and split."""

    values_TF: Floats
    """Scaled and filled: no NaN. C-contiguous."""
    static_SC: Floats
    """Scaled numbers and one-hot categories per series; C may be 0."""
    shift_SD: Floats
    """Targets in data units are `values * scale + shift`."""
    scale_SD: Floats
    observed_TD: npt.NDArray[np.bool_] | None
    """Which targets were observed; None: all. Unobserved ones count in no loss and no metric."""
    parts: dict[str, Samples]
    """`train`, `val`, `test`; at prediction only `predict`."""
    row_keys: dict[str, Keys]
    """Part -> sorted hashes of the rows whose targets or labels it uses."""
    info: DataInfo
    times_T: npt.NDArray[np.int64] | None = None
    """Unix nanoseconds of each row, or multiples of `info.time_unit`; None where there is no time."""
    first_S: Ints | None = None
    """First row of each series in `values_TF`."""
    window_T: Ints | None = None
    """Labelled anomaly that a row lies in, numbered from 1; 0: none. None: nothing is labelled."""
    outlines: tuple[Outline, ...] = ()
    """Of the files that were read; the same for every fold."""
    remarks: tuple[str, ...] = ()
    """What a person should know: of new rows, what was filled or not used; of training data, how they were read."""

    def arrays(self) -> dict[str, Any]:
        """Every array under a flat name, for hashing and for moving to shared memory."""
        flat: dict[str, Any] = {"values_TF": self.values_TF, "static_SC": self.static_SC,
                                "shift_SD": self.shift_SD, "scale_SD": self.scale_SD}
        for optional in ("observed_TD", "times_T", "first_S", "window_T"):
            if getattr(self, optional) is not None:
                flat[optional] = getattr(self, optional)
        for part, samples in self.parts.items():
            flat |= {f"parts/{part}/{name}": array for name, array in vars(samples).items()}
        return flat | {f"row_keys/{part}": keys for part, keys in self.row_keys.items()}
