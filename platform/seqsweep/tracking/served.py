"""The file MLflow runs to serve a package (models from code); `seqsweep` below is the copy in the package's `code/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from seqsweep.tracking.packaged import Package


class Served(PythonModel):
    """A package behind MLflow's pyfunc interface."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the package once."""
        self.package = Package.read(Path(context.artifacts["package"]))

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame,
                params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the prediction table of new rows; `params` are not used."""
        return self.package.predict(model_input)


mlflow.models.set_model(Served())
