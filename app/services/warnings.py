"""The warnings of the API: every code with the sentence that explains it."""

from __future__ import annotations

from app.domain.records import ResultWarning
from model.preprocessing.ink import Quality

_QUALITY = {
    "low-resolution": "The writing has few pixels; scan at 200 dpi or more for a firmer result.",
    "low-contrast": "The ink is faint against the paper.",
    "touches-edge": "The writing touches the edge of the image; a part of it may be cut off.",
    "ruled-line-removed": "A ruled line was taken out; strokes along it may be damaged.",
    "inverted": "Light writing on a dark ground was turned round.",
}
_FINDING = {
    "single-reference": "Only one reference is compared with; how much this hand varies is not known from it. "
    "Enrol more for a firmer result.",
    "low-quality-reference": "A reference has quality warnings of its own; see it under the signer's references.",
    "identical-image": "The questioned image is a reference, byte for byte: a copy, not a new signature.",
    "possible-copy": "The questioned signature matches a reference more closely than a hand repeats itself; "
    "it may be a copy or a tracing of it.",
    "inconsistent-references": "The signer's references differ more among themselves than one hand usually does; "
    "check that they are all theirs.",
    "unsupported-operating-point": "The fixed threshold lies where too few errors were seen to state its rates.",
    "copy-of-reference": "The specimen repeats a reference that is enrolled already: the same scan in another "
    "format or size. It does not count; enrol another signature of the signer.",
    "duplicate-reference": "Some references repeat others: the same scan in another format or size. Each counts "
    "once; replace them by other signatures of the signer for a firmer result.",
    "unlike-other-references": "The specimen is far from the signer's other references; check that it is theirs.",
    "skipped-signers": "Signers whose references were enrolled with another model, or cannot be read, were left out; "
    "`python -m app reembed` moves them to the model in use.",
}


def quality_notes(quality: Quality) -> tuple[ResultWarning, ...]:
    """What may make this image less reliable."""
    return tuple(
        ResultWarning(code, _QUALITY.get(code, code.replace("-", " ") + ".")) for code in quality.warnings
    )


def note(code: str, detail: str | None = None) -> ResultWarning:
    """A warning by its code, with its usual sentence or another one."""
    return ResultWarning(code, detail or _FINDING.get(code, code.replace("-", " ") + "."))
