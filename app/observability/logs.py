"""Structured logs in one format, those of uvicorn included, without images, templates and API keys."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime

from app.decoding.libtiff import silence_libtiff
from app.domain.request_context import request_id

_KEY = re.compile(r"\bcs_[A-Za-z0-9_-]{20,}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, message, request id, and the entries of ``extra["fields"]``."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
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
        return _mask_keys(json.dumps(line, default=str))


class TextLines(logging.Formatter):
    """Plain text. Only the first line of a record starts in the first column."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        text = super().format(record)
        fields = getattr(record, "fields", {})
        text += "".join(f" {key}={value}" for key, value in fields.items())
        # Control characters are escaped and further lines indented, so that a message cannot imitate a record.
        return _mask_keys(_CONTROL.sub(lambda match: repr(match[0])[1:-1], text).replace("\n", "\n    "))


def _mask_keys(text: str) -> str:
    """Mask API keys: none is logged intentionally, but an exception message may contain one."""
    return _KEY.sub("cs_***", text)


def configure_logging(level: str, form: str) -> None:
    """Log to stderr in the format `form` (json or text), and route the loggers of uvicorn and alembic there."""
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
    # At level debug these libraries log the content of requests: images and form fields.
    for name in ("alembic", "multipart"):
        logging.getLogger(name).setLevel("WARNING")
    for name in ("PIL", "python_multipart"):
        logging.getLogger(name).setLevel("CRITICAL")  # the caller gets the faults of an upload in the answer
    silence_libtiff()
