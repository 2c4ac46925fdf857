"""Settings of libtiff, the decoder of TIFF images within Pillow."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

import PIL


def silence_libtiff() -> None:
    """Stop libtiff from writing warnings about corrupt files to stderr, between the lines of the log."""
    folder = Path(PIL.__file__).parent.parent / "pillow.libs"
    for library in folder.glob("libtiff-*.so*"):  # bundled with Pillow's wheels for Linux
        with contextlib.suppress(OSError, AttributeError):
            loaded = ctypes.CDLL(str(library))
            loaded.TIFFSetErrorHandler(None)
            loaded.TIFFSetWarningHandler(None)
