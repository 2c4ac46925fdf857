"""All settings of the service, one module for each subject.

Each setting is read from the environment with the prefix ``COUNTERSIGN_`` (``COUNTERSIGN_PORT=9000``), then from a
file ``.env`` in the working directory, then from a file of that name in lower case in ``/run/secrets`` (where
containers find their secrets: ``/run/secrets/countersign_database_url``), then from its default. `python -m app
config` prints them all. Unknown variables with the prefix and contradictory settings are refused at start.
"""

from app.settings.base import PREFIX
from app.settings.environment import FORMER_NAMES, load_settings, refuse_unknown
from app.settings.model import (
    PAGE_NETWORK,
    PERMISSIVE_PAGE_NETWORK,
    PERMISSIVE_WEIGHTS,
    RELEASED_WEIGHTS,
    ROOT,
)
from app.settings.service import Settings

__all__ = [
    "FORMER_NAMES",
    "PAGE_NETWORK",
    "PERMISSIVE_PAGE_NETWORK",
    "PERMISSIVE_WEIGHTS",
    "PREFIX",
    "RELEASED_WEIGHTS",
    "ROOT",
    "Settings",
    "load_settings",
    "refuse_unknown",
]
