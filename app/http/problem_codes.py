"""The codes of problems: status, title, explanation, and what a failed request has stored.

`PROBLEMS` lists all of them. Responses (`app.http.problems`), the OpenAPI document, the list at ``/problems`` and the
tests are based on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Stored = Literal["nothing", "everything", "unknown"]
"""What a failed request has stored; ``unknown`` means everything or nothing, never a part."""


@dataclass(frozen=True)
class ProblemKind:
    """The properties that all problems with the same code share.

    Attributes
    ----------
    status : int
        HTTP status.
    title : str
    explanation : str
        What it means where the title does not say it, and what to do.
    stored : {"nothing", "everything", "unknown"}
    """

    status: int
    title: str
    explanation: str
    stored: Stored = "nothing"


PROBLEMS: dict[str, ProblemKind] = {
    # The request
    "malformed-request": ProblemKind(
        400,
        "The request is not valid for this endpoint",
        "A parameter, a field or the body is missing, is not known, or does not have the documented form. Correct "
        "what `detail` names; `errors` lists the faults by field where there are fields.",
    ),
    "invalid-cursor": ProblemKind(
        400,
        "The cursor was not issued by this listing",
        "It belongs to another listing or to other parameters, or was changed. Send the `next_cursor` of the page "
        "before as it is, with the same parameters, or start again without a cursor.",
    ),
    "empty-upload": ProblemKind(400, "A file is empty", "The file has no bytes. Send its content."),
    "damaged-image": ProblemKind(
        400,
        "An image is truncated or corrupt",
        "The file ends too early, or its content cannot be decoded. Save or scan it again.",
    ),
    "no-such-page": ProblemKind(
        400,
        "The file has no such page",
        "Send another `page`; pages are counted from 0. `/extract` answers how many there are.",
    ),
    "too-many-files": ProblemKind(
        400,
        "Too many files in one request",
        "Send fewer files in each request; the maximum is the setting `COUNTERSIGN_MAX_FILES`.",
    ),
    "duplicate-signature": ProblemKind(
        400,
        "A questioned signature occurs twice in the request",
        "Two files of the document are the same. Send each signature once.",
    ),
    "upload-refused": ProblemKind(
        400, "A file was not accepted", "A general code: `detail` has the reason. Send another file."
    ),
    "unauthenticated": ProblemKind(
        401,
        "A valid API key is required",
        "There is no key, more than one, or one that is unknown, expired or revoked. Send a valid one as `X-API-Key` "
        "or as `Authorization: Bearer`.",
    ),
    "forbidden": ProblemKind(
        403,
        "The API key does not permit this",
        "The key lacks the scope or is of another tenant than the call needs; ask the operator for another one. "
        "While no key exists, only requests of the service's own machine are answered.",
    ),
    "cors-refused": ProblemKind(
        403,
        "Browsers may not send this request from a page of another origin",
        "CORS is off, or the origin of the page, the method or a header is not allowed. The operator lists origins "
        "in the setting `COUNTERSIGN_CORS_ORIGINS`; without any, CORS is off.",
    ),
    "not-found": ProblemKind(
        404,
        "There is no such resource",
        "No call has this address, or what it names does not exist. `/docs` lists the calls.",
    ),
    "signer-not-found": ProblemKind(
        404,
        "There is no such signer",
        "The tenant of the key has no signer with this id. Check the id, or enrol the signer first.",
    ),
    "reference-not-found": ProblemKind(
        404,
        "The signer has no such reference",
        "The reference may have been erased. `GET /signers/{signer_id}/references` lists those that exist.",
    ),
    "verification-not-found": ProblemKind(
        404,
        "There is no such verification",
        "The tenant of the key has no verification with this id. Check the id.",
    ),
    "account-not-found": ProblemKind(
        404,
        "There is no such account",
        "The tenant of the key has no account with this id. Check the id, or create the account first.",
    ),
    "account-version-not-found": ProblemKind(
        404,
        "The account has no such version",
        "`GET /accounts/{account_id}/versions` lists those that exist.",
    ),
    "case-not-found": ProblemKind(
        404,
        "There is no such case",
        "No verification with this id was left to a person. `GET /cases` lists cases.",
    ),
    "image-not-kept": ProblemKind(
        404,
        "The image of this questioned signature is not kept",
        "The service does not keep these images, or not any more: setting `COUNTERSIGN_KEEP_QUESTIONED_DAYS`.",
    ),
    "method-not-allowed": ProblemKind(
        405,
        "This resource does not support the method",
        "Use one of the methods that the header `Allow` of the response lists.",
    ),
    "upload-timeout": ProblemKind(
        408,
        "The request did not arrive in time",
        "The body took longer than the setting `COUNTERSIGN_UPLOAD_TIMEOUT_S`. Send it again.",
    ),
    "too-few-references": ProblemKind(
        409,
        "The signer has too few references",
        "Enrol more references; the minimum is the setting `COUNTERSIGN_MIN_REFERENCES`.",
    ),
    "several-signatures": ProblemKind(
        409,
        "There are several signatures on the image",
        "Which one is meant would be a guess. Send one of `regions` as `region`.",
    ),
    "nobody-enrolled": ProblemKind(
        409,
        "No signers are enrolled",
        "There is no signer with whom the signature could be compared. Enrol signers first.",
    ),
    "duplicate-reference": ProblemKind(
        409,
        "The image is already a reference of this signer",
        "Or the file occurs twice in the request. Leave it out.",
    ),
    "too-many-references": ProblemKind(
        409,
        "The signer has the maximum number of references",
        "Erase other references first, or send fewer; the maximum is the setting `COUNTERSIGN_MAX_REFERENCES`.",
    ),
    "not-confirmed": ProblemKind(
        409,
        "The questioned signature cannot become a reference",
        "Record its outcome as genuine first. One that did not lie straight has to be enrolled from another scan.",
    ),
    "unsupported-rate": ProblemKind(
        409,
        "The calibration does not support this error rate or threshold",
        "Choose a value within `calibration.far_range` or up to `calibration.largest_threshold` of `GET /model`.",
    ),
    "model-version-mismatch": ProblemKind(
        409,
        "References have no template of the current model",
        "The model has been replaced. The operator runs `python -m app reembed`; for a map of differences, verify "
        "the signature again.",
    ),
    "idempotency-conflict": ProblemKind(
        409,
        "The Idempotency-Key was used for another request",
        "A repeated request has to have the same content. Use a new key for every other request.",
    ),
    "signer-erased": ProblemKind(
        409,
        "The signer was erased while the request was processed",
        "Do not repeat the request, unless the signer is enrolled again.",
    ),
    "no-difference-map": ProblemKind(
        409,
        "The model cannot say where signatures differ",
        "It compares signatures as a whole. The operator can use a model with local matching.",
    ),
    "mandate-not-in-force": ProblemKind(
        409,
        "No version of the account applies to this day",
        "Check the `date` of the signatures, or `effective_from` of the account.",
    ),
    "currency-mismatch": ProblemKind(
        409,
        "The amount is in another currency",
        "Send the amount in the currency of the account, or of the settings, that `detail` names.",
    ),
    "case-claimed": ProblemKind(
        409,
        "Another clerk has claimed the case",
        "Take another case, or wait until the claim is released or expires.",
    ),
    "case-not-claimed": ProblemKind(
        409,
        "The case has to be claimed before it is decided",
        "Claim it with `POST /cases/{case_id}/claim`; an earlier claim may have expired.",
    ),
    "case-decided": ProblemKind(
        409,
        "The case was decided or closed already",
        "Take another case. `GET /cases/{case_id}` shows the decision.",
    ),
    "undo-expired": ProblemKind(
        409,
        "There is no decision that can be taken back",
        "This clerk has not decided the case, or it is too late to take the decision back.",
    ),
    "conflict": ProblemKind(
        409,
        "The request conflicts with stored data",
        "A general code: `detail` has the reason. Read what is stored before you repeat the request.",
    ),
    "precondition-failed": ProblemKind(
        412,
        "The account has changed since it was read",
        "Read it again, and repeat the change with its new `ETag` as `If-Match`.",
    ),
    "request-too-large": ProblemKind(
        413,
        "The request is too large",
        "Send fewer or smaller files; the maximum is the setting `COUNTERSIGN_MAX_REQUEST_BYTES`.",
    ),
    "upload-too-large": ProblemKind(
        413,
        "A file is too large",
        "Cut the signature out, or save the image in fewer bytes; the maximum is the setting "
        "`COUNTERSIGN_MAX_UPLOAD_BYTES`.",
    ),
    "too-many-pixels": ProblemKind(
        413,
        "An image has too many pixels",
        "Cut the signature out, or scan at a lower resolution; the maximum is the setting `COUNTERSIGN_MAX_PIXELS`.",
    ),
    "too-expensive": ProblemKind(
        413,
        "Decoding an image takes too much memory or processor time",
        "Send it with fewer pixels or pages, or save or scan it again.",
    ),
    "unsupported-encoding": ProblemKind(
        415,
        "The body of a request must not be compressed",
        "Send it without `Content-Encoding`.",
    ),
    "not-an-image": ProblemKind(
        415,
        "A file is not an image",
        "Its content has none of the supported formats, whatever its name says. `/docs` lists the formats.",
    ),
    "unsupported-image": ProblemKind(
        415,
        "An image format is not supported",
        "Save it as PNG or JPEG, and a PDF without its password.",
    ),
    # The signature
    "blank-image": ProblemKind(
        422,
        "The image is blank",
        "Nothing is written on it. Check the file, or send another `page` or `region`.",
    ),
    "too-little-ink": ProblemKind(
        422,
        "The image contains too little ink for a signature",
        "There is only a speck or a dot. Check the file, or send another `page` or `region`.",
    ),
    "only-a-line": ProblemKind(
        422,
        "The image contains only a line, no signature",
        "Check the file, or send another `page` or `region`.",
    ),
    "too-much-ink": ProblemKind(
        422,
        "Ink and paper cannot be distinguished",
        "Most of the image is dark. Scan dark ink on light paper.",
    ),
    "image-too-small": ProblemKind(
        422,
        "The image or the signature is too small",
        "Scan at a higher resolution; 200 dpi or more.",
    ),
    "no-signature": ProblemKind(
        422,
        "There is no handwritten signature on the image",
        "There is print or other ink. Send another `page`, or say by `region` where the signature is.",
    ),
    "bad-region": ProblemKind(
        422,
        "The region is not a usable part of the image",
        "It is outside of the image, too small, or its sides are out of order. Correct `region`.",
    ),
    "unusable-signature": ProblemKind(
        422,
        "The image contains no usable signature",
        "A general code: `detail` has the reason. Send another image.",
    ),
    "precondition-required": ProblemKind(
        428,
        "A change needs an If-Match header",
        "Read the account, and send its `ETag` as `If-Match` so that no change of others is lost.",
    ),
    # The service
    "too-many-requests": ProblemKind(
        429,
        "Too many requests in too short a time",
        "The key has reached its rate limit, or this address has sent too many invalid keys. Wait for the seconds in "
        "`Retry-After`.",
    ),
    "internal-error": ProblemKind(
        500,
        "Internal error",
        "A fault of the service. Repeat the request with the same `Idempotency-Key`, or check what is stored; report "
        "the fault with `request_id`.",
        "unknown",
    ),
    "answer-lost": ProblemKind(
        500,
        "The request was carried out, but its response was lost",
        "Repeat it with the same `Idempotency-Key` to get the response, or read what is stored.",
        "everything",
    ),
    "outcome-unknown": ProblemKind(
        500,
        "It is unknown whether the request was carried out",
        "The connection to the database broke. Repeat the request with the same `Idempotency-Key`, or check what is "
        "stored.",
        "unknown",
    ),
    "erasure-not-logged": ProblemKind(
        500,
        "The data were erased, but the erasure log could not be written",
        "Tell the operator; the service adds the entry when the file can be written. Do not repeat the request.",
        "everything",
    ),
    "stored-data-damaged": ProblemKind(
        500,
        "Stored data cannot be decrypted",
        "An image or a template was damaged, changed or moved. Tell the operator, who restores it from a backup.",
    ),
    "busy": ProblemKind(
        503,
        "The service is at capacity",
        "Too many requests are in flight or queued. Repeat the request after `Retry-After`.",
    ),
    "deadline-passed": ProblemKind(
        503,
        "The response was not ready in time",
        "The request was stopped. Repeat it after `Retry-After`.",
    ),
    "not-ready": ProblemKind(
        503,
        "The service is starting or shutting down, or cannot reach its network",
        "Repeat the request after `Retry-After`.",
    ),
    "store-unavailable": ProblemKind(
        503,
        "The store cannot be reached or written",
        "Repeat the request after `Retry-After`; tell the operator if it lasts.",
    ),
    "data-key-missing": ProblemKind(
        503,
        "The encryption key of stored data is not configured",
        "The operator has to add the key to the settings. Repeat the request then.",
    ),
    "unavailable": ProblemKind(
        503,
        "The service is temporarily unavailable",
        "A general code: `detail` has the reason. Repeat the request after `Retry-After`.",
    ),
}
