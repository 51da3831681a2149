"""Which trial is next, and which is ended early. The only room that imports optuna."""
