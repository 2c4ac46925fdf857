"""Texts in several languages: catalogues in TOML, one entry for each text with all its languages."""
