"""seqsweep finds, trains, registers and promotes the best recurrent model for a sequence problem."""

__version__ = "0.1.0"
