"""Compares what production answered with what the serving version was trained on."""
