"""Pictures of documents rendered from seeded content, with exact truth: one module per kind of document."""
