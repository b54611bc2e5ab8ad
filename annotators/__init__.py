"""What can be said of a row: one file per ability, each adding columns and never changing the row count."""
