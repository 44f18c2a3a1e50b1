"""Scores whole files with a version: the server's checks, without a server."""
