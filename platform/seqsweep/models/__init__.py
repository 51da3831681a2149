"""How it is learnt: plain torch."""
