"""The warnings of the API: their codes and the sentences that explain them."""

from __future__ import annotations

from app.domain.records import ResultWarning
from model.preprocessing.ink import Quality

_DETAILS = {
    # Of one image.
    "low-resolution": "The signature has few pixels. Scan at 200 dpi or more for a more reliable result.",
    "low-contrast": "The ink is faint against the paper.",
    "touches-edge": "The signature touches the edge of the image; part of it may be cut off.",
    "ruled-line-removed": "A ruled line was removed; strokes along it may be damaged.",
    "inverted": "The image shows light ink on a dark background and was inverted.",
    "other-marks-removed": "Print, lines, stamps or other marks around the signature were left out; `region` is the "
    "part of the page that was compared.",
    "red-print-removed": "Red print, such as a stamp, was left out.",
    "other-signatures": "There may be other signatures on the page; the most prominent one was compared. Set "
    "`region` to compare another one.",
    "signature-not-located": "The signature could not be distinguished from print or other marks, so all ink of the "
    "image was compared. Send a crop of the signature, or set `region`.",
    "uncertain-region": "It is uncertain whether `region` shows the whole signature and nothing else. Look at it, or "
    "send a crop of the signature.",
    "page-turned": "No signature, or only an uncertain one, was found on the page as it is, so it was turned by "
    "quarter turns; `region` is in "
    "pixels of the page that was sent.",
    "page-straightened": "The print on the page is not level, so the page was turned by that angle; `region` is in "
    "pixels of the page that was sent.",
    "sheet-rectified": "The image shows a sheet on a darker background; the sheet was cut out and rectified.",
    # Of a comparison, an enrolment or an identification.
    "single-reference": "There is only one reference, so the signer's own variation is unknown. "
    "Enrol more references for a more reliable result.",
    "low-quality-reference": "At least one reference has quality warnings; list the signer's references to see them.",
    "identical-image": "The questioned image is byte for byte the same as a reference: a copy, not a new signature.",
    "possible-copy": "The questioned signature is closer to a reference than genuine signatures of one signer are to "
    "each other; it may be a copy or a tracing of the reference.",
    "inconsistent-references": "The signer's references differ unusually much from each other; "
    "check that all of them are genuine.",
    "unsupported-operating-point": "Too few errors were observed near the fixed threshold to estimate its error "
    "rates.",
    "copy-of-reference": "The specimen repeats an enrolled reference: the same scan in another format or size. "
    "It does not count; enrol another signature of the signer.",
    "duplicate-reference": "Some references repeat others: the same scan in another format or size. Each counts "
    "once; replace the copies with other signatures of the signer for a more reliable result.",
    "unlike-other-references": "The specimen is far from the signer's other references; check that it is genuine.",
    "known-forgeries-skipped": "Some known forgeries of the signer were not compared: they have no template of the "
    "model in use. `python -m app reembed` makes one from an image that is kept; otherwise withdraw them.",
    "skipped-signers": "Signers whose references were enrolled with another model, or cannot be read, were skipped; "
    "`python -m app reembed` moves them to the model in use.",
}


def quality_warnings(quality: Quality) -> tuple[ResultWarning, ...]:
    """Return the warnings of one image."""
    return tuple(make_warning(code) for code in quality.warnings)


def make_warning(code: str) -> ResultWarning:
    """Return the warning with this code; the words of an unknown code are its explanation."""
    return ResultWarning(code, _DETAILS.get(code, code.replace("-", " ") + "."))
