"""Everything that reads what the pipeline wrote; never a DVC dependency."""
