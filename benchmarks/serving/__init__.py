"""What a server answers in a second."""
