"""Prompts: one .md file per prompt; its hash enters the fingerprint."""
