"""From published shards to packed rows: reading, wording, packing, mixing, all of it resumable to the byte."""
