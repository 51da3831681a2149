"""What is to be learnt, with the columns that take part."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from seqsweep.config.base import Config
from seqsweep.config.own import Code, Entry, Own, is_none

Column = Annotated[str, Field(min_length=1, max_length=200)]

METRICS: dict[str, dict[str, Literal["minimize", "maximize"]]] = {
    "forecasting": {"mae": "minimize", "rmse": "minimize", "mse": "minimize", "scaled_mse": "minimize",
                    "mape": "minimize", "smape": "minimize", "mase": "minimize", "pinball": "minimize",
                    "loss": "minimize"},
    "classification": {"accuracy": "maximize", "balanced_accuracy": "maximize", "f1": "maximize", "auc": "maximize",
                       "log_loss": "minimize", "loss": "minimize"},
    "regression": {"mae": "minimize", "rmse": "minimize", "mse": "minimize", "r2": "maximize", "loss": "minimize"},
    "anomaly": {"nab": "maximize", "nab_cross": "maximize", "f1": "maximize", "loss": "minimize"},
}
"""The metrics each task computes on the validation part after each epoch, and which way is better."""


def _ordered(quantiles: tuple[float, ...]) -> tuple[float, ...]:
    if quantiles and (list(quantiles) != sorted(set(quantiles)) or 0.5 not in quantiles):
        raise ValueError("quantiles must be increasing, without repeats, and contain 0.5")
    return quantiles


class LearnerConfig(Config):
    """What a model learns may be the user's own, over data of a type that is known."""

    entry: Entry | None = Field(default=None, exclude_if=is_none)
    """`mytasks.py:Asymmetric`: a class of a file in this YAML's folder that says what is learnt of such data: loss,
    head, predictions. It is made from the class of this type (`seqsweep.tasks`), whose metrics and baselines stay."""
    code: Code | None = Field(default=None, exclude_if=is_none)
    """The file's text, which the loader fills in."""

    @property
    def own(self) -> Own | None:
        """The user's class."""
        return Own(self.entry, self.code or "") if self.entry else None


class ForecastingConfig(LearnerConfig):
    """Predict the next `horizon` values of the targets from the last `context` steps."""

    type: Literal["forecasting"] = "forecasting"
    target: Column | Annotated[tuple[Column, ...], Field(min_length=1)]
    """Column or columns to forecast."""
    horizon: int = Field(ge=1, le=10_000)
    """Steps ahead."""
    context: int = Field(ge=1, le=100_000)
    """Steps the model sees."""
    past: tuple[Column, ...] = ()
    """Covariates known only up to now."""
    known: tuple[Column, ...] = ()
    """Covariates known ahead, such as holidays or planned prices."""
    static: tuple[Column, ...] = ()
    """Columns that are constant within a series; text is one-hot encoded."""
    quantiles: Annotated[tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...], AfterValidator(_ordered)] = ()
    """Quantiles to forecast (pinball loss, Koenker & Bassett, 1978), 0.5 among them; none: the value itself."""
    calibration: Literal["none", "conformal"] = "none"
    """`conformal`: move each quantile but the median, a target at a time, to where its share of the validation part lay
    below it (Romano et al., 2019). The winner's are moved once, before the test part is opened; figures of trials on
    the validation part are those before. It holds as far as the future is like the validation part."""
    loss: Literal["mse", "mae", "huber"] = "mae"
    """Training loss of a point forecast, on the scaled targets; quantiles bring their own."""
    stride: int = Field(default=1, ge=1)
    """Steps between the origins of training windows."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The target columns, always as a tuple."""
        return (self.target,) if isinstance(self.target, str) else self.target



class ClassificationConfig(LearnerConfig):
    """Tell which class a whole sequence belongs to."""

    type: Literal["classification"] = "classification"
    label: Column = "label"
    """Column of the class, constant within a sequence. In a `.ts` file the label is part of the format."""
    positive: Column | int | None = None
    """Tell this class from all others, which become `not <class>`; none: every label is a class."""
    features: tuple[Column, ...] = ()
    """Columns of the sequence to read; empty reads every column that has no other role."""
    static: tuple[Column, ...] = ()
    """Columns that are constant within a sequence; text is one-hot encoded."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weighs each class by the inverse of its share in the training part."""


REMAINING = "remaining"
"""The target of run-to-failure data that have no column for it."""


class RegressionConfig(LearnerConfig):
    """Tell a number from a whole sequence, or at each row from the last `context` rows, such as the life that remains.

    The target is no feature. A sample's target is that of its last row.
    """

    type: Literal["regression"] = "regression"
    target: Column
    """Column of the number; rows where it is empty end no sample. `remaining`, where no column is called so: what is
    left until the last row of the series (run to failure), in rows, units of a time column of numbers, or days."""
    context: int | None = Field(default=None, ge=1, le=100_000)
    """Rows a sample has at the most: one ends at each row of a series. None: the whole sequence is one sample."""
    features: tuple[Column, ...] = ()
    """Columns to read; empty reads every column that has no other role."""
    static: tuple[Column, ...] = ()
    """Columns that are constant within a series; text is one-hot encoded."""
    cap: float | None = None
    """Larger targets count as this, and no prediction is larger: while an engine is sound, its remaining life cannot be
    told (Heimes, 2008)."""
    loss: Literal["mse", "mae", "huber"] = "mse"
    """Training loss, on the standardised target."""
    stride: int = Field(default=1, ge=1)
    """Rows between the ends of training samples of one series."""


class AnomalyConfig(Config):
    """Tell which rows of a series do not follow from the rows before them."""

    type: Literal["anomaly"] = "anomaly"
    features: tuple[Column, ...] = ()
    """Columns to watch; empty watches every column that has no other role."""
    context: int = Field(ge=2, le=100_000)
    """Steps the model sees before the one it judges; for so long after an alarm a lesser one is part of the same."""
    scorer: Literal["forecast", "autoencoder"] = "forecast"
    """What an error is: of the forecast of the next row (Malhotra et al., 2015), or of the window put together again
    from one state of the encoder (Malhotra et al., 2016)."""
    label: Column | None = None
    """Column that is 1 where a row is anomalous, else 0; nothing is trained on it. Without labels, here or in
    data.windows, the metric is the loss."""
    alarm_rate: float = Field(default=1e-3, gt=0.0, le=0.1)
    """Share of the validation rows that may be alarms where none of them is labelled: this sets the threshold. With
    labels it is the threshold of the best NAB score there (Lavin & Ahmad, 2015)."""
    static: tuple[Column, ...] = ()
    """Columns that are constant within a series; text is one-hot encoded."""
    stride: int = Field(default=1, ge=1)
    """Steps between the rows that are learnt from."""

    @property
    def horizon(self) -> int:
        """Rows that are judged at once."""
        return 1


WindowTask = ForecastingConfig | AnomalyConfig
"""Tasks whose samples are windows of a series, all of one length: so many steps that are seen, then what is asked."""
TaskConfig = Annotated[ForecastingConfig | ClassificationConfig | RegressionConfig | AnomalyConfig,
                       Field(discriminator="type")]


def reads_whole(task: TaskConfig) -> bool:
    """Whether a whole sequence is one sample; else samples are stretches of it."""
    return getattr(task, "context", None) is None


def own_learner(task: TaskConfig) -> Own | None:
    """Return the user's class of what is learnt, where there is one."""
    return task.own if isinstance(task, LearnerConfig) else None
