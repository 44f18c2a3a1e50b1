"""What the server costs, beside an empty handler on the same stack."""
