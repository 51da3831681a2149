"""Prints and asks, never decides."""
