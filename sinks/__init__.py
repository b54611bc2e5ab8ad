"""Where rows come to rest: ledger, shards, tables, catalog, card and gallery."""
