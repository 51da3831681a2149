"""MLflow: runs, registry and the model package. The only room that imports mlflow."""
