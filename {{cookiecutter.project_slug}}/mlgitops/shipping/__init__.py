"""Brings the prediction log of a server to where the monitor reads it."""
