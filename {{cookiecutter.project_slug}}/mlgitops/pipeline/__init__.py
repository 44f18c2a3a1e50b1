"""The stages of dvc.yaml, and what only they use."""
