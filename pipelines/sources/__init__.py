"""Where keys come from: listings of media and finished datasets."""
