"""What wraps the linear layers of a language model."""
