"""An independent look at what is stored of a sweep: the store, MLflow's runs, the registry.

It shares no code with what writes them: its own SQL, its own reading of MLflow, its own idea of what is right.
"""

from __future__ import annotations

import os

for _name, _value in {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
                      "MLFLOW_HTTP_REQUEST_TIMEOUT": "30", "MLFLOW_DISABLE_TELEMETRY": "true",
                      "MLFLOW_LOGGING_LEVEL": "ERROR"}.items():
    os.environ.setdefault(_name, _value)  # MLflow reads some of these as it is imported; the user's own setting wins
