"""What a repair takes away from MLflow; what is missing there comes back by projecting."""

from __future__ import annotations

from seqsweep.tracking.client import answering, connect


class Surplus:
    """Deletes what should not be there. Every method raises Unavailable where MLflow does not answer."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client = connect(uri)

    def delete_run(self, run_id: str) -> None:
        """Delete a run; `mlflow` can restore it until `mlflow gc`."""
        with answering(self._uri):
            self._client.delete_run(run_id)

    def delete_alias(self, model: str, alias: str) -> None:
        """Delete an alias of a registered model."""
        with answering(self._uri):
            self._client.delete_registered_model_alias(model, alias)
