"""Exceptions of the service. Only `app.http.problems` translates them to HTTP responses.

::

    CountersignError
    ├── StartRefused               the service must not start with this configuration
    │   ├── InvalidSettings        a setting, an option or an argument is wrong
    │   ├── StoreFolderMissing     the folder of an SQLite file does not exist
    │   ├── StoreMissing           the store does not exist yet; starting the service creates it
    │   └── StoreOutdated          the schema is of another release; starting the service migrates an older one
    ├── MalformedRequest           the endpoint does not accept the form of the request
    │   └── InvalidCursor          the listing did not issue this cursor
    ├── Unauthenticated            no API key, or an invalid one
    ├── Forbidden                  the key lacks the scope; or a request from another machine while no key exists
    ├── NotFound
    │   ├── SignerNotFound
    │   ├── ReferenceNotFound
    │   ├── VerificationNotFound
    │   ├── AccountNotFound
    │   ├── AccountVersionNotFound
    │   ├── CaseNotFound
    │   ├── ImageNotKept           the image of the questioned signature was not kept, or has been deleted
    │   └── KeyNotFound
    ├── Conflict                   the request conflicts with stored data
    │   ├── TooFewReferences
    │   ├── NobodyEnrolled
    │   ├── DuplicateReference
    │   ├── TooManyReferences
    │   ├── NotConfirmed           the questioned signature is not recorded as genuine, or lay askew
    │   ├── UnsupportedRate        an error rate or a threshold outside of the range of the calibration
    │   ├── SignerErased           the signer was erased during the request
    │   ├── ModelVersionMismatch   the templates are of another model than the loaded one
    │   ├── NoDifferenceMap        the model compares signatures as a whole
    │   ├── MandateNotInForce      no version of the account applies to the day of the signatures
    │   ├── CurrencyMismatch       the amount is in another currency than the account
    │   ├── CaseClaimed            another clerk has claimed the case
    │   ├── CaseNotClaimed         the clerk has not claimed the case
    │   ├── CaseDecided            the case was decided or closed
    │   ├── UndoExpired            there is no decision that the clerk may take back
    │   └── IdempotencyConflict    the Idempotency-Key was used for another request
    ├── PreconditionFailed         the object is in another state than the request expects
    ├── PreconditionRequired       the request changes an object without saying which state it expects
    ├── RequestTooLarge            the request body
    ├── UnsupportedEncoding        the request body is compressed
    ├── UploadTimeout              the request body did not arrive in time
    ├── TooManyFiles
    ├── DuplicateSignature         a file occurs twice among the questioned signatures
    ├── UploadRefused              one file is not accepted
    │   ├── EmptyUpload
    │   ├── UploadTooLarge         too many bytes
    │   ├── TooManyPixels          a decompression bomb, or a very large scan
    │   ├── TooExpensive           decoding exceeds the limit of memory or processor time
    │   ├── NotAnImage             a script, text or archive, regardless of its file name
    │   ├── UnsupportedImage       a format that is not supported (GIF, SVG, JPEG XL), or a PDF that needs a password
    │   ├── DamagedImage           truncated or corrupt
    │   └── NoSuchPage
    ├── FileRefused                one of these, or `UnusableSignature`, with the position of the file
    ├── AnswerLost                 the request was carried out, but interrupted before its response
    ├── OutcomeUnknown             the database connection broke during the commit
    ├── ErasureNotLogged           data were erased, but the erasure log could not be written
    ├── StoredDataDamaged          a stored image or template cannot be decrypted
    ├── TooManyRequests            a rate limit is exceeded
    └── Unavailable                temporary; retry later
        ├── Busy                   too many requests are in flight or queued
        ├── DeadlinePassed         the response was not ready in time
        ├── NotReady               the service is starting or shutting down, or cannot reach its network
        ├── StoreUnavailable       the database cannot be reached or written
        └── DataKeyMissing         the key of a stored image or template is not configured

An image without a usable signature raises `model.errors.UnusableSignature` or a subclass.
"""

from __future__ import annotations

from model.errors import ModelError, SeveralSignatures, UnusableSignature


class CountersignError(Exception):
    """Base class. The message states what is wrong and what to do, in one or two sentences.

    Attributes
    ----------
    code : str
        Stable identifier in kebab case; `app.http.problem_codes` maps it to an HTTP status and a title.
    """

    code = "internal-error"


class StartRefused(CountersignError):
    """The service must not start with this configuration."""

    code = "start-refused"


class InvalidSettings(StartRefused):
    """A setting, an option or an argument of a command is wrong, or contradicts another one."""

    code = "invalid-settings"


class StoreFolderMissing(StartRefused):
    """The folder of an SQLite file does not exist.

    Attributes
    ----------
    folder : str
        Its absolute path.
    """

    code = "store-folder-missing"

    def __init__(self, message: str, folder: str) -> None:
        super().__init__(message)
        self.folder = folder


class StoreMissing(StartRefused):
    """The store does not exist, and this command does not create it."""

    code = "store-missing"


class StoreOutdated(StartRefused):
    """The schema of the store is of another release.

    Attributes
    ----------
    newer : bool
        Whether that release is later than this one.
    """

    code = "store-outdated"

    def __init__(self, message: str, *, newer: bool = False) -> None:
        super().__init__(message)
        self.newer = newer


class MalformedRequest(CountersignError):
    """The endpoint does not accept the form of the request."""

    code = "malformed-request"


class InvalidCursor(MalformedRequest):
    """The listing did not issue this cursor."""

    code = "invalid-cursor"


class Unauthenticated(CountersignError):
    """No API key, or an invalid one."""

    code = "unauthenticated"


class Forbidden(CountersignError):
    """The key lacks the scope; or the request comes from another machine while no key exists."""

    code = "forbidden"


class NotFound(CountersignError):
    """The tenant of the caller has no object with this id."""

    code = "not-found"


class SignerNotFound(NotFound):
    """No signer with this id is enrolled."""

    code = "signer-not-found"


class ReferenceNotFound(NotFound):
    """The signer has no reference with this id."""

    code = "reference-not-found"


class VerificationNotFound(NotFound):
    """There is no verification with this id."""

    code = "verification-not-found"


class AccountNotFound(NotFound):
    """There is no account with this id."""

    code = "account-not-found"


class AccountVersionNotFound(NotFound):
    """The account has no version with this number."""

    code = "account-version-not-found"


class CaseNotFound(NotFound):
    """There is no verification with this id that was left to a person."""

    code = "case-not-found"


class ImageNotKept(NotFound):
    """The image of the questioned signature was not kept, or has been deleted."""

    code = "image-not-kept"


class KeyNotFound(NotFound):
    """There is no API key with this name or id."""


class Conflict(CountersignError):
    """The request conflicts with stored data."""

    code = "conflict"


class TooFewReferences(Conflict):
    """The signer has fewer references than verification requires."""

    code = "too-few-references"


class NobodyEnrolled(Conflict):
    """No signer is enrolled whom the questioned signature can be compared with."""

    code = "nobody-enrolled"


class DuplicateReference(Conflict):
    """The file is already a reference of this signer, or occurs twice in the request."""

    code = "duplicate-reference"


class TooManyReferences(Conflict):
    """The signer would exceed the maximum number of references."""

    code = "too-many-references"


class NotConfirmed(Conflict):
    """The questioned signature cannot become a reference: it is not recorded as genuine, or did not lie straight."""

    code = "not-confirmed"


class UnsupportedRate(Conflict):
    """The requested error rate or threshold is outside of the range of the loaded calibration."""

    code = "unsupported-rate"


class SignerErased(Conflict):
    """The signer was erased during the request; nothing was stored."""

    code = "signer-erased"


class ModelVersionMismatch(Conflict):
    """The templates of the signer were computed by another model than the loaded one."""

    code = "model-version-mismatch"


class NoDifferenceMap(Conflict):
    """The loaded model compares signatures as a whole and cannot say where they differ."""

    code = "no-difference-map"


class MandateNotInForce(Conflict):
    """No version of the account applies to the day of the signatures."""

    code = "mandate-not-in-force"


class CurrencyMismatch(Conflict):
    """The amount is in another currency than the account."""

    code = "currency-mismatch"


class CaseClaimed(Conflict):
    """Another clerk has claimed the case, and the claim has not expired."""

    code = "case-claimed"


class CaseNotClaimed(Conflict):
    """The clerk has not claimed the case."""

    code = "case-not-claimed"


class CaseDecided(Conflict):
    """The case was decided by a clerk, or closed by an outcome."""

    code = "case-decided"


class UndoExpired(Conflict):
    """The clerk has made no decision on the case, or it is too late to take it back."""

    code = "undo-expired"


class IdempotencyConflict(Conflict):
    """The Idempotency-Key was used for another request."""

    code = "idempotency-conflict"


class PreconditionFailed(CountersignError):
    """The object is in another state than the request expects."""

    code = "precondition-failed"


class PreconditionRequired(CountersignError):
    """The request changes an object without saying which state it expects."""

    code = "precondition-required"


class RequestTooLarge(CountersignError):
    """The request body exceeds the maximum size."""

    code = "request-too-large"


class UnsupportedEncoding(CountersignError):
    """The request body has a content coding, such as gzip."""

    code = "unsupported-encoding"


class UploadTimeout(CountersignError):
    """The request body did not arrive in time."""

    code = "upload-timeout"


class TooManyFiles(CountersignError):
    """The request exceeds the maximum number of files."""

    code = "too-many-files"


class DuplicateSignature(CountersignError):
    """A file occurs twice among the questioned signatures of a document."""

    code = "duplicate-signature"


class UploadRefused(CountersignError):
    """An uploaded file is not accepted."""

    code = "upload-refused"


class EmptyUpload(UploadRefused):
    """The file is empty."""

    code = "empty-upload"


class UploadTooLarge(UploadRefused):
    """The file exceeds the maximum number of bytes."""

    code = "upload-too-large"


class TooManyPixels(UploadRefused):
    """The image exceeds the maximum number of pixels, by its header or when decoded."""

    code = "too-many-pixels"


class TooExpensive(UploadRefused):
    """Decoding the image exceeds the limit of memory or processor time."""

    code = "too-expensive"


class NotAnImage(UploadRefused):
    """The content of the file is not an image, regardless of its name."""

    code = "not-an-image"


class UnsupportedImage(UploadRefused):
    """The file is an image or document in an unsupported format, or needs a password."""

    code = "unsupported-image"


class DamagedImage(UploadRefused):
    """The image is truncated or cannot be decoded."""

    code = "damaged-image"


class NoSuchPage(UploadRefused):
    """The file does not have the requested page."""

    code = "no-such-page"


class FileRefused(CountersignError):
    """A file of the request is not accepted. The code is that of the cause.

    Parameters
    ----------
    cause : CountersignError or ModelError
    field, position, name
        As below.
    takes_region : bool
        Whether the request can name another page or region of the file, so that the message may advise it.

    Attributes
    ----------
    field : str
        Form field of the file, such as ``signature``.
    position : int
        Number of the file among those of the field, counted from 1.
    name : str or None
        File name sent by the caller.
    regions : tuple of four ints each
        The signatures that may be meant, where there are several.
    """

    def __init__(
        self,
        cause: CountersignError | ModelError,
        field: str,
        position: int,
        name: str | None,
        *,
        takes_region: bool = True,
    ) -> None:
        file_name = f" ({name!r})" if name else ""
        message = str(cause)
        if isinstance(cause, UnusableSignature) and not takes_region:
            message = cause.fact
        super().__init__(f"File {position} of `{field}`{file_name}: {message}")
        self.code = cause.code
        self.field = field
        self.position = position
        self.name = name
        self.regions = cause.regions if isinstance(cause, SeveralSignatures) else ()


class StoredDataDamaged(CountersignError):
    """A stored image or template cannot be decrypted: it was damaged, changed, or moved to another row."""

    code = "stored-data-damaged"


class TooManyRequests(CountersignError):
    """The rate limit of a key, or the limit on invalid keys from one address, is exceeded.

    Attributes
    ----------
    retry_after_s : int
        Seconds until the next request is accepted.
    """

    code = "too-many-requests"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(CountersignError):
    """The service is temporarily unavailable.

    Attributes
    ----------
    retry_after_s : int
        Seconds to wait before a retry.
    """

    code = "unavailable"
    retry_after_s = 1


class Busy(Unavailable):
    """The service is at capacity: too many requests are in flight or queued."""

    code = "busy"


class DeadlinePassed(Unavailable):
    """The response was not ready in time; the request was cancelled and nothing was stored."""

    code = "deadline-passed"
    retry_after_s = 2


class AnswerLost(CountersignError):
    """The request was carried out and its changes are stored, but it was interrupted before its response."""

    code = "answer-lost"


class OutcomeUnknown(CountersignError):
    """The database connection broke during the commit: the request was carried out completely or not at all."""

    code = "outcome-unknown"


class ErasureNotLogged(CountersignError):
    """Data were erased, but the erasure log could not be written."""

    code = "erasure-not-logged"


class NotReady(Unavailable):
    """The service is starting or shutting down, or cannot reach the deployment of the network."""

    code = "not-ready"
    retry_after_s = 2


class StoreUnavailable(Unavailable):
    """The database cannot be reached or written."""

    code = "store-unavailable"
    retry_after_s = 5


class DataKeyMissing(Unavailable):
    """The encryption key of a stored image or template is not configured."""

    code = "data-key-missing"
    retry_after_s = 30
