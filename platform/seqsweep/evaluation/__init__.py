"""Baselines, the gate and the leaderboard."""
