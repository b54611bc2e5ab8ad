"""Metrics of published benchmarks, on plain values and with numpy at most, each with a golden case by hand."""
