"""Why a row or a whole job could not be carried out."""

from __future__ import annotations

from app.domain.errors import CountersignError, InvalidSettings


class BulkRefused(CountersignError):
    """A bulk job cannot begin or continue; running the command again continues it, once the cause is removed."""

    code = "bulk-refused"


class InvalidJob(BulkRefused, InvalidSettings):
    """A bulk job cannot begin, because an argument or an option of its command is wrong."""

    code = "invalid-job"


class RowRefused(CountersignError):
    """A row of the manifest cannot be carried out.

    Attributes
    ----------
    code : str
        ``malformed-row`` or ``image-not-found``; rows that the service refuses have the codes of its problems.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
