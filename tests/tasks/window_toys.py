"""Windows and sequences of random numbers, prepared as the data room would."""

from typing import Any

import numpy as np
import torch

from seqsweep.config.models import RecurrentConfig
from seqsweep.config.tasks import ForecastingConfig
from seqsweep.data.batch import DataInfo, Prepared, Samples
from seqsweep.tasks.batch import Arrays, Batch
from seqsweep.tasks.forecasting import Forecaster
from seqsweep.tasks.metrics import naive_error

torch.set_num_threads(1)  # more cost more than they give on problems of this size

CONTEXT, HORIZON = 8, 3
FEATURES = ("load", "hour", "temperature", "price")
TARGETS, KNOWN = (0, 3), (1,)


def windows_of(rows: int = 60, series: int = 2, gaps: bool = False, seed: int = 0) -> Prepared:
    """Two targets of four features, one known ahead, `series` series of equal length end to end, one static."""
    draw = np.random.default_rng(seed)
    values_TF = draw.normal(size=(rows * series, len(FEATURES))).astype(np.float32)
    observed_TD = draw.random((rows * series, 2)) < 0.7 if gaps else None
    parts = {}
    for part, first, last in (("train", 0, rows - 20), ("val", rows - 20 - CONTEXT, rows)):
        start_N = np.concatenate([np.arange(first, last - CONTEXT - HORIZON + 1) + s * rows for s in range(series)])
        series_N = start_N // rows
        parts[part] = Samples(start_N, np.full_like(start_N, CONTEXT + HORIZON), series_N, np.zeros(0, np.int64),
                              start_N.astype(np.uint64))
    info = DataInfo(features=FEATURES, targets=TARGETS, known=KNOWN, columns=FEATURES, static_features=("size",),
                    seasons=(2, 4), data_hash="windows")
    return Prepared(values_TF, draw.normal(size=(series, 1)).astype(np.float32),
                    draw.normal(10, 1, (series, 2)).astype(np.float32),
                    draw.uniform(1, 3, (series, 2)).astype(np.float32), observed_TD, parts, {}, info)


def task_of(**fields: Any) -> ForecastingConfig:
    base = {"target": ("load", "price"), "known": ("hour",), "past": ("temperature",), "static": ("size",),
            "horizon": HORIZON, "context": CONTEXT}
    return ForecastingConfig.model_validate(base | fields)


def forecaster(data: Prepared, task: ForecastingConfig, **fields: Any) -> Forecaster:
    torch.manual_seed(1)
    learner = Forecaster(task, RecurrentConfig.model_validate({"hidden_size": 4} | fields), data.info)
    for parameter in learner.head.parameters():  # a head that starts at zero hides what it reads
        torch.nn.init.normal_(parameter, std=0.3)
    return learner.eval()


def batch_of(data: Prepared, part: str = "val", rows: slice = slice(None)) -> Batch:
    samples = data.parts[part]
    row_NL = samples.start_N[rows, None] + np.arange(samples.length_N[0])
    observed = None if data.observed_TD is None else torch.tensor(data.observed_TD[row_NL])
    return Batch(Arrays.of(data, naive_error(data), torch.device("cpu")), torch.tensor(data.values_TF[row_NL]), None,
                 torch.tensor(samples.series_N[rows]), torch.tensor(samples.label_N), observed)
