"""Reports as HTML: one file without script, whose pictures are in it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.report import document

MEDIA_TYPE = "text/html; charset=utf-8"
_FOLDER = Path(__file__).parent / "templates"
_STYLE = (_FOLDER / "report.css").read_text(encoding="utf-8")
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; img-src data:; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
"""The Content-Security-Policy of a report: no script, no style but its own, nothing from elsewhere."""
_templates = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_html(report: document.Document) -> bytes:
    """Render a report as HTML, UTF-8. The same document gives the same bytes."""
    page = _templates.get_template("report.html").render(
        report=report, style=_STYLE, kind=lambda block: type(block).__name__, source=_source
    )
    return page.encode()


def _source(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"
