"""The one truth: a few tables in one transactional database."""
