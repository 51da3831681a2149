"""Files -> split arrays with lengths and times."""
