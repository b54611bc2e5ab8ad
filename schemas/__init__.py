"""What a row is: units, types and their derived Arrow schemas. Imports stdlib, numpy and pyarrow only."""
