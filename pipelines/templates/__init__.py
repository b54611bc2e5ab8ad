"""Phrasings as data: one .toml per recipe; its hash enters the fingerprint."""
