"""The groups of `python -m app`, one subject a file; `app.__main__` puts them together."""
