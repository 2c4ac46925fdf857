"""Reports on verifications: their wording, and their two forms, HTML and PDF, which are made from one document."""
