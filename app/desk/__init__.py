"""The review desk at ``/desk``: pages for clerks, which use the same services as the API."""
