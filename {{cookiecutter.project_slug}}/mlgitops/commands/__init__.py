"""What people and workflows start: `python -m mlgitops COMMAND`."""
