"""What is tried next, and what is given up: the search space, the brain (Optuna, in memory) and the pruners."""
