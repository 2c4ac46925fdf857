"""The log of the service in a test."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any

from app.observability.logs import configure_logging


class Log(io.StringIO):
    """What is logged in a test. Never truncated, unlike a captured file: other threads may write at any time."""

    _read = 0

    def configure(self, level: str, form: str) -> None:
        """Configure logging as the service does, then write the log here instead of to standard error."""
        configure_logging(level, form)
        (handler,) = logging.getLogger().handlers
        assert isinstance(handler, logging.StreamHandler)
        assert handler.setStream(self) is sys.stderr

    def new_text(self) -> str:
        """Return what was logged since the last call."""
        text = self.getvalue()[self._read :]
        self._read += len(text)
        return text

    def new_lines(self) -> list[dict[str, Any]]:
        """Return the lines logged since the last call; each must be a JSON object."""
        return [json.loads(line) for line in self.new_text().splitlines()]
