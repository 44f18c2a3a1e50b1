"""What else serves a scikit-learn model: one file each, in its own environment."""
