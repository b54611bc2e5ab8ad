"""Views: compile steps that turn a clip's evidence into training samples, on a CPU, without touching pixels."""
