"""Structured logs: one form for all of them, uvicorn's included. No image, no template, no API key."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime

from app.decoding.uploads import hush_libtiff
from app.domain.request_context import request_id

_KEY = re.compile(r"\bcs_[A-Za-z0-9_-]{20,}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request id, and what `extra={"fields": ...}` adds."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id() != "-":
            line["request_id"] = request_id()
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _masked(json.dumps(line, default=str))


class TextLines(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        text = super().format(record)
        fields = getattr(record, "fields", {})
        text += "".join(f" {key}={value}" for key, value in fields.items())
        # Whatever a message carries, only a record begins at the margin.
        return _masked(_CONTROL.sub(lambda match: repr(match[0])[1:-1], text).replace("\n", "\n    "))


def _masked(text: str) -> str:
    """The text without API keys: none is logged on purpose, and none shall be by accident."""
    return _KEY.sub("cs_***", text)


def configure_logging(level: str, form: str) -> None:
    """Send everything to stderr in one form, uvicorn's own lines included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if form == "json" else TextLines("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # Some libraries log what they read, word by word, when asked for everything: images and fields of forms.
    for name in ("alembic", "multipart"):
        logging.getLogger(name).setLevel("WARNING")
    for name in ("PIL", "python_multipart"):
        logging.getLogger(name).setLevel(
            "CRITICAL"
        )  # what is wrong with an upload is told to whoever sent it
    hush_libtiff()
