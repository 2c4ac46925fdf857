"""What the server process of `tests.forked` imports before it forks."""

from __future__ import annotations

import gc
import importlib

from tests.forked import PROGRAMS

MODULES = (*PROGRAMS.values(), "app.main", "model.training.train", "torch._dynamo")
"""The programs, and what they import later; optimisers import `torch._dynamo` when they are made."""

# Garbage collection would take a quarter of the time of the imports; the forks do not collect what these made either.
gc.disable()
for module in MODULES:
    importlib.import_module(module)
gc.freeze()
gc.enable()
