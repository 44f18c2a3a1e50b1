"""Which old versions go, and whose rows: nothing else may delete what was kept."""
