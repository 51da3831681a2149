"""What MLflow has of a sweep, wherever it lies: runs of any experiment, versions of any model, the saved view."""

from __future__ import annotations

from collections.abc import Callable

from mlflow.entities import Experiment

from seqsweep.tracking.client import answering, connect, pages
from seqsweep.tracking.notes import view_tag
from seqsweep.tracking.registry import KEY_TAG, ModelVersion, with_aliases
from seqsweep.tracking.runs import SWEEP_TAG, TRIAL_TAG

_EXPERIMENTS = 100
"""Experiments in a request."""


class Traces:
    """The traces of one sweep, told by its uid. Every method raises Unavailable where MLflow does not answer.

    Raises NotFound where MLflow's database is a file that is not there.
    """

    def __init__(self, uri: str, uid: str) -> None:
        self._uri, self._uid = uri, uid
        self._client = connect(uri, create=False)

    def runs(self) -> list[str]:
        """Ids of its runs that are not deleted: those of trials, then the sweep's own."""
        with answering(self._uri):
            return self._runs(self._experiments())

    def versions(self) -> tuple[ModelVersion, ...]:
        """The model versions that were registered from it, with the aliases each has now."""
        with answering(self._uri):
            return with_aliases(self._client, pages(self._client.search_model_versions,
                                                     f"tags.`{KEY_TAG}` LIKE '{self._uid}/%'"))

    def delete_runs(self, watch: Callable[[int, int], None] = lambda done, of: None) -> int:
        """Delete its runs, as `mlflow gc` expects them, and the view of its trials; returns how many runs they were.

        Cut short it may be done again. `watch` is told how many of how many are deleted.
        """
        with answering(self._uri):
            experiments = self._experiments()
            found = self._runs(experiments)
            for done, run in enumerate(found):
                watch(done, len(found))
                self._client.delete_run(run)
            for experiment in experiments:
                if view_tag(self._uid) in experiment.tags:
                    self._client.delete_experiment_tag(experiment.experiment_id, view_tag(self._uid))
        return len(found)

    def _experiments(self) -> list[Experiment]:
        return list(pages(self._client.search_experiments))

    def _runs(self, experiments: list[Experiment]) -> list[str]:
        ids = [experiment.experiment_id for experiment in experiments]
        found = [run for first in range(0, len(ids), _EXPERIMENTS) for run in pages(
            self._client.search_runs, ids[first:first + _EXPERIMENTS], f"tags.{SWEEP_TAG} = '{self._uid}'")]
        return [run.info.run_id for run in sorted(found, key=lambda run: TRIAL_TAG not in run.data.tags)]
