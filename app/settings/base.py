"""What the settings of all subjects have in common."""

from __future__ import annotations

from pathlib import Path

from pydantic import BeforeValidator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "COUNTERSIGN_"
SECRETS = Path("/run/secrets")
EMPTY_IS_NONE = BeforeValidator(lambda value: None if value == "" else value)
"""An empty variable unsets an optional setting."""


class Options(BaseSettings):
    """Base of the settings of one subject; `app.settings.Settings` combines the subjects."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        extra="ignore",
        frozen=True,
        validate_default=True,
    )
