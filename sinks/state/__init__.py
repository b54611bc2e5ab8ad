"""What the ledger stands on: whole objects, leases, snapshots, records that know when they are damaged."""
