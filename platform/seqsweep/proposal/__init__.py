"""A first sweep for a file nobody has described: what its columns are, what could be learnt, and a commented YAML.

Everything that is measured on values to make a choice - seasons, correlations, spreads - is measured on the rows that
will be the training part.
"""
