"""Compares production with what the serving version was trained on."""
