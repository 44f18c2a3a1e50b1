"""Plays a generated repository's whole life on one machine."""
