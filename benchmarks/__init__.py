"""Side-by-side performance: one command each, ratios from one run."""
