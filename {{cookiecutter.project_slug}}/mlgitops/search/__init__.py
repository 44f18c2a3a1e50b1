"""Settings chosen by cross-validation inside the training rows: `make experiment`."""
