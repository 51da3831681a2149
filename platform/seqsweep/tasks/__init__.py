"""What is to be learnt: heads, losses and metrics, plain torch."""
