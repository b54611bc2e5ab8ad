"""The audit: a person marks a drawn sample of labels right or wrong; the marks become a precision with its interval."""
