"""Bulk jobs: verify, enrol or extract every row of a manifest, with one result for each row, exactly once."""
