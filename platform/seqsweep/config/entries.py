"""Whether the user's own code fits into the sweep around it."""

from __future__ import annotations

from typing import Literal

from seqsweep.config.models import AroundConfig, RecurrentConfig
from seqsweep.config.own import Own, signature_of
from seqsweep.config.structure import Draft
from seqsweep.config.tasks import METRICS, AnomalyConfig, own_learner
from seqsweep.config.training import TrainingConfig

_COLUMNS = frozenset({"name", "kind", "number", "state", "reason", "value", "best_epoch", "trained_epochs", "seconds"})
_FIGURES = ("train_", "val_", "test_")
"""What tables show beside the parameters."""


def check_entries(draft: Draft) -> None:
    """Note every contradiction of own code with the sections that are sound."""
    if draft.sound("model") and draft.sweep.model is not None:
        _check_model(draft)
    if draft.sound("task") and (learner := own_learner(draft.sweep.task)):
        _check_arguments(draft, "task", learner)
        if draft.sound("resources"):
            _check_pack(draft, learner)
    if draft.sound("metric", "task") and draft.sweep.metric.entry is not None:
        _check_metric(draft)


def _check_model(draft: Draft) -> None:
    own = draft.sweep.model.own if draft.sweep.model else None
    if own is None:
        return
    _check_arguments(draft, "model", own)
    if draft.sound("resources"):
        resources = draft.sweep.resources
        if resources.kernel not in ("auto", "torch"):
            draft.refuse(("resources", "kernel"), f"{own.name} is computed by torch as it is written", "auto, or torch")
        _check_pack(draft, own)


def _check_arguments(draft: Draft, section: Literal["model", "task"], own: Own) -> None:
    """Names under `parameters` mean one thing, and arguments without a default are among them."""
    parameters, signature = draft.sweep.parameters, signature_of(own, section)
    arguments, taken = signature.arguments.model_fields, _taken(draft, section)
    for name in sorted(parameters.keys() & {*arguments, *signature.others}):
        if name in taken:
            draft.refuse((section, "entry"), f"{own.name} has an argument {name}, and {taken[name]} is called so",
                         "another name for the argument; or no such parameter, so that it keeps its default")
        elif name in arguments and (name in _COLUMNS or name.startswith(_FIGURES)):
            draft.refuse((section, "entry"), f"{own.name} has an argument {name}, which is a column of the leaderboard "
                         "or of the table of trials", "another name for the argument")
    if not (draft.has_all_parameters and draft.sound("parameters")):
        return
    for name in (name for name, field in arguments.items() if field.is_required()):
        if name not in parameters:
            draft.refuse((section, "entry"), f"{own.name} needs {name}, which has no default",
                         f"{name} under parameters, or a default in {own.file}")
        elif parameters[name].when:
            draft.refuse(("parameters", name, "when"), f"{name} has no default for trials in which it is inactive",
                         f"a default in {own.file}, or no when", key=True)


def _taken(draft: Draft, section: Literal["model", "task"]) -> dict[str, str]:
    """What else may stand under `parameters`, and whose it is."""
    model = draft.sweep.model.own if draft.sweep.model else None
    taken = dict.fromkeys(TrainingConfig.model_fields, "a parameter of the training")
    shipped = RecurrentConfig if model is None else AroundConfig
    taken |= dict.fromkeys(shipped.model_fields, "a parameter of the model")
    if section == "task" and model is not None and draft.sound("model"):
        signature = signature_of(model)
        taken |= dict.fromkeys({*signature.arguments.model_fields, *signature.others}, f"an argument of {model.name}")
    return taken


def _check_pack(draft: Draft, own: Own) -> None:
    if draft.sweep.resources.pack not in ("auto", "off", 1):
        draft.refuse(("resources", "pack"), f"{own.name} is trained one trial at a time: whether several in step "
                     "give the same is not known", "pack: off")


def _check_metric(draft: Draft) -> None:
    metric, task = draft.sweep.metric, draft.sweep.task
    if isinstance(task, AnomalyConfig):
        draft.refuse(("metric", "entry"), "what an alarm is worth is counted by windows, which a function of truth and "
                     "predictions does not see", f"name: {', '.join(METRICS[task.type])}", key=True)
    elif metric.name in METRICS[task.type]:
        draft.refuse(("metric", "entry"), f"{metric.name} is a metric of {task.type} already",
                     f"name: {metric.name}, or another name for the function")
    if metric.goal is None:
        draft.refuse(("metric", "goal"), f"which way {metric.name} is better is not known",
                     "goal: minimize, or maximize")
