"""The commands of ``python -m app``, one module per subject; `app.__main__` registers them."""
