"""Reading the settings from the environment: renamed and removed settings, misspelt names, and messages."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError

from app.domain.errors import InvalidSettings
from app.domain.validation import describe_fault
from app.settings.base import PREFIX
from app.settings.service import Settings

FORMER_NAMES = {"max_bytes_in_hand": "max_inflight_bytes"}
"""Settings that were renamed; the former names still work and log a warning."""
REMOVED = {"audit_anchor_s": "300 seconds", "drift_window": "1000 verifications"}
"""Settings that were removed, and what applies instead; their variables are ignored with a warning."""

_log = logging.getLogger("countersign.settings")


def load_settings() -> Settings:
    """Read the settings from the environment. Raises InvalidSettings, with one line that says what is wrong."""
    variables = {name.upper(): value for name, value in (dotenv_values(".env") | dict(os.environ)).items()}
    refuse_unknown(variables)
    for name, value in REMOVED.items():
        if PREFIX + name.upper() in variables:
            _log.warning("%s%s is ignored: it is %s and no setting any more", PREFIX, name.upper(), value)
    try:
        return Settings(**_renamed(variables))
    except ValidationError as error:
        faults = (
            f"{PREFIX + str(fault['loc'][0]).upper() if fault['loc'] else 'settings'}: "
            f"{describe_fault(fault)}"
            for fault in error.errors()
        )
        raise InvalidSettings("; ".join(faults)) from None


def _renamed(variables: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the settings that were given under a former name; each is logged as a warning."""
    found: dict[str, Any] = {}
    for former, name in FORMER_NAMES.items():
        value = variables.get(PREFIX + former.upper())
        if value is not None and PREFIX + name.upper() not in variables:
            _log.warning("%s%s is now %s%s", PREFIX, former.upper(), PREFIX, name.upper())
            found[name] = value
    return found


def refuse_unknown(names: Iterable[str]) -> None:
    """Raise InvalidSettings when a variable has the prefix and is not a setting: it was probably misspelt."""
    known = {PREFIX + name.upper() for name in (*Settings.model_fields, *FORMER_NAMES, *REMOVED)}
    unknown = sorted({n for n in names if n.upper().startswith(PREFIX) and n.upper() not in known})
    if not unknown:
        return
    faults = []
    for name in unknown:
        near = difflib.get_close_matches(name.upper(), known, 1, 0.8)
        faults.append(f"{name} is not a setting" + (f" (did you mean {near[0]}?)" if near else ""))
    raise InvalidSettings(
        f"{'; '.join(faults)}. Remove or correct it; `python -m app config` lists the settings. (Kubernetes sets "
        "such variables for a Service named countersign: set enableServiceLinks to false.)"
    )
