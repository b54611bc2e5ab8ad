"""A teacher without weights: an OpenAI-compatible server that answers by rules, with faults to order."""
