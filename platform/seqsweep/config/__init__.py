"""YAML -> frozen Sweep; free of torch, pandas and optuna."""
