"""The training loop: torch only."""
