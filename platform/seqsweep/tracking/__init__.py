"""MLflow: runs, registry and the model package. The only room that imports mlflow."""

from __future__ import annotations

import os

_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default of 7 blocks for minutes
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}
for _name, _value in _SETTINGS.items():
    # MLflow reads some of these as it is imported, which any module of this room does; the user's own setting wins.
    os.environ.setdefault(_name, _value)
