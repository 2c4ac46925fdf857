"""What can go wrong in the service, raised where the fact is known and translated once, in `app.http.problems`.

::

    CountersignError
    ├── StartRefused               the service must not start as it is configured
    │   ├── StoreMissing           there is no store yet; a start makes it
    │   └── StoreOutdated          the store is of another release; a start migrates an older one
    ├── MalformedRequest           the request is not what the endpoint takes
    │   └── InvalidCursor          a cursor that this listing did not hand out
    ├── Unauthenticated            no key, or a key nobody knows
    ├── Forbidden                  a known key without the scope, or a caller from elsewhere without any key
    ├── NotFound
    │   ├── SignerNotFound
    │   ├── ReferenceNotFound
    │   ├── VerificationNotFound
    │   ├── ImageNotKept           the image of a questioned signature that was not kept, or not for so long
    │   └── KeyNotFound
    ├── Conflict                   well formed, but at odds with what is stored
    │   ├── TooFewReferences
    │   ├── NobodyEnrolled
    │   ├── DuplicateReference
    │   ├── TooManyReferences
    │   ├── UnsupportedRate        an error rate that the calibration's data cannot tell
    │   ├── SignerErased           while the request was worked on
    │   ├── ModelVersionMismatch   templates made by another model than the one that is loaded
    │   └── IdempotencyConflict    the same Idempotency-Key with another body
    ├── RequestTooLarge            the body as a whole
    ├── UploadTimeout              the body did not arrive in time
    ├── TooManyFiles
    ├── UploadRefused              one file that is not taken
    │   ├── EmptyUpload
    │   ├── UploadTooLarge         bytes
    │   ├── TooManyPixels          a decompression bomb, or simply a huge scan
    │   ├── TooExpensive           reading it takes more memory or processor time than one image may use
    │   ├── NotAnImage             a script, text, an archive, whatever its name says
    │   ├── UnsupportedImage       an image or document of a kind that is not read (PDF, GIF, SVG, HEIC)
    │   ├── DamagedImage           truncated or broken
    │   └── NoSuchPage
    ├── FileRefused                any of these, or `UnusableSignature`, with the file it is about
    ├── AnswerLost                 carried out, and stopped before it was answered
    ├── OutcomeUnknown             carried out or not: the database broke off while it committed
    ├── ErasureNotLogged           erased, and the erasure log could not be written
    ├── StoredDataDamaged          a stored image or template does not decrypt
    ├── TooManyRequests            beyond a rate limit; `retry_after_s` says when the next one is taken
    └── Unavailable                try again later; `retry_after_s` says when
        ├── Busy                   as much work is in hand as the service takes on
        ├── DeadlinePassed         the answer was not ready in time and was dropped
        ├── NotReady               starting or shutting down
        ├── StoreUnavailable       the database cannot be reached or written
        └── DataKeyMissing         a stored image or template was encrypted with a key that is not configured

Images that were read but hold no usable signature are `model.errors.UnusableSignature` and its subclasses.
"""

from __future__ import annotations

from model.errors import ModelError


class CountersignError(Exception):
    """Base of all errors below; the message says what was wrong and what to do, in one sentence or two.

    Attributes
    ----------
    code : str
        A stable identifier in kebab case; `app.http.problems` knows its HTTP status and title.
    """

    code = "internal-error"


class StartRefused(CountersignError):
    """The service must not start as it is configured."""

    code = "start-refused"


class StoreMissing(StartRefused):
    """There is no store yet, and whoever looks makes none."""

    code = "store-missing"


class StoreOutdated(StartRefused):
    """The store's schema is not this release's; ``newer`` when it is a later release's."""

    code = "store-outdated"

    def __init__(self, message: str, *, newer: bool = False) -> None:
        super().__init__(message)
        self.newer = newer


class MalformedRequest(CountersignError):
    """The request is not what the endpoint takes."""

    code = "malformed-request"


class InvalidCursor(MalformedRequest):
    """A cursor that this listing did not hand out."""

    code = "invalid-cursor"


class Unauthenticated(CountersignError):
    """No key, or a key nobody knows."""

    code = "unauthenticated"


class Forbidden(CountersignError):
    """A known key without the scope, or a caller from elsewhere while no key is configured."""

    code = "forbidden"


class NotFound(CountersignError):
    """Nothing under this name for this caller."""

    code = "not-found"


class SignerNotFound(NotFound):
    """No signer under this id."""

    code = "signer-not-found"


class ReferenceNotFound(NotFound):
    """The signer has no reference under this id."""

    code = "reference-not-found"


class VerificationNotFound(NotFound):
    """No verification under this id."""

    code = "verification-not-found"


class ImageNotKept(NotFound):
    """The image of a questioned signature was not kept, or its time is over."""

    code = "image-not-kept"


class KeyNotFound(NotFound):
    """No API key under this name or id."""


class Conflict(CountersignError):
    """Well formed, but at odds with what is stored."""

    code = "conflict"


class TooFewReferences(Conflict):
    """The signer has fewer references than a verification needs."""

    code = "too-few-references"


class NobodyEnrolled(Conflict):
    """There is nobody to identify the signature among."""

    code = "nobody-enrolled"


class DuplicateReference(Conflict):
    """The very same file is a reference of this signer already, or stands twice in the request."""

    code = "duplicate-reference"


class TooManyReferences(Conflict):
    """The signer would have more references than the service keeps of one person."""

    code = "too-many-references"


class UnsupportedRate(Conflict):
    """An error rate was asked for that the loaded calibration's data cannot tell."""

    code = "unsupported-rate"


class SignerErased(Conflict):
    """The signer was erased while the request was worked on; nothing was stored."""

    code = "signer-erased"


class ModelVersionMismatch(Conflict):
    """The signer's templates were made by another model than the one that is loaded."""

    code = "model-version-mismatch"


class IdempotencyConflict(Conflict):
    """The same Idempotency-Key came with another request before."""

    code = "idempotency-conflict"


class RequestTooLarge(CountersignError):
    """The body as a whole is larger than the service takes."""

    code = "request-too-large"


class UploadTimeout(CountersignError):
    """The body of the request did not arrive in time."""

    code = "upload-timeout"


class TooManyFiles(CountersignError):
    """More files in one request than the service takes."""

    code = "too-many-files"


class UploadRefused(CountersignError):
    """One uploaded file is not taken."""

    code = "upload-refused"


class EmptyUpload(UploadRefused):
    """The file has no bytes."""

    code = "empty-upload"


class UploadTooLarge(UploadRefused):
    """The file has more bytes than the service takes."""

    code = "upload-too-large"


class TooManyPixels(UploadRefused):
    """The image has, or claims to have, more pixels than the service decodes."""

    code = "too-many-pixels"


class TooExpensive(UploadRefused):
    """Reading the image takes more memory or processor time than one image may use."""

    code = "too-expensive"


class NotAnImage(UploadRefused):
    """The bytes are no image, whatever the name says."""

    code = "not-an-image"


class UnsupportedImage(UploadRefused):
    """An image or document of a kind that is not read."""

    code = "unsupported-image"


class DamagedImage(UploadRefused):
    """The image breaks off or cannot be decoded."""

    code = "damaged-image"


class NoSuchPage(UploadRefused):
    """The file has fewer pages than the one asked for."""

    code = "no-such-page"


class FileRefused(CountersignError):
    """A file of a request that was refused, and which one it is.

    Attributes
    ----------
    field : str
        The form field, such as ``signature``.
    position : int
        Counted from 1 among the files of that field.
    name : str or None
        The file's name as the caller gave it.
    """

    def __init__(self, cause: CountersignError | ModelError, field: str, position: int, name: str | None):
        called = f" ({name!r})" if name else ""
        super().__init__(f"File {position} of `{field}`{called}: {cause}")
        self.code = cause.code
        self.field = field
        self.position = position
        self.name = name


class StoredDataDamaged(CountersignError):
    """A stored image or template does not decrypt: damaged, changed, or moved from another row."""

    code = "stored-data-damaged"


class TooManyRequests(CountersignError):
    """More requests than a key may send, or more invalid keys than an address may show.

    Attributes
    ----------
    retry_after_s : int
        Seconds after which the next one is taken.
    """

    code = "too-many-requests"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(CountersignError):
    """The service cannot answer now.

    Attributes
    ----------
    retry_after_s : int
        Seconds after which another attempt makes sense.
    """

    code = "unavailable"
    retry_after_s = 1


class Busy(Unavailable):
    """As much work is in hand as the service takes on."""

    code = "busy"


class DeadlinePassed(Unavailable):
    """The answer was not ready in time; the work was dropped and nothing was stored."""

    code = "deadline-passed"
    retry_after_s = 2


class AnswerLost(CountersignError):
    """The request was carried out, and stopped before it was answered."""

    code = "answer-lost"


class OutcomeUnknown(CountersignError):
    """The database broke off while it committed: the request was carried out as a whole, or not at all."""

    code = "outcome-unknown"


class ErasureNotLogged(CountersignError):
    """Something was erased, and the erasure log could not be written."""

    code = "erasure-not-logged"


class NotReady(Unavailable):
    """Starting or shutting down."""

    code = "not-ready"
    retry_after_s = 2


class StoreUnavailable(Unavailable):
    """The database cannot be reached or written."""

    code = "store-unavailable"
    retry_after_s = 5


class DataKeyMissing(Unavailable):
    """A stored image or template was encrypted with a key that is not configured."""

    code = "data-key-missing"
    retry_after_s = 30
