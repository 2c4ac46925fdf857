"""All settings of a service process, from those of the subjects."""

from __future__ import annotations

from pydantic import model_validator

from app.domain.errors import InvalidSettings
from app.settings.access import AccessOptions
from app.settings.decision import DecisionOptions
from app.settings.model import ModelOptions
from app.settings.network import NetworkOptions
from app.settings.observability import ObservabilityOptions
from app.settings.storage import StorageOptions


class Settings(  # pydantic takes the fields of the last base first
    ObservabilityOptions, StorageOptions, DecisionOptions, ModelOptions, AccessOptions, NetworkOptions
):
    """Settings of one service process."""

    @model_validator(mode="before")
    @classmethod
    def _strip_line_ends(cls, values: dict[str, object]) -> dict[str, object]:
        """Remove a byte order mark and carriage returns, which Windows editors add."""
        return {
            name: value.lstrip("\ufeff").rstrip("\r\n") if isinstance(value, str) else value
            for name, value in values.items()
        }

    def refuse_missing_encryption_key(self) -> None:
        """Raise InvalidSettings when other machines can reach the service and no encryption key is configured."""
        if self.encryption_keys is None and self.encryption_key_file is None and not self.loopback:
            raise InvalidSettings(
                f"COUNTERSIGN_HOST={self.host} is not a loopback address and no encryption key is configured. "
                "Make one with `python -m app encryption new-key --file FILE` and set "
                "COUNTERSIGN_ENCRYPTION_KEY_FILE to it."
            )
