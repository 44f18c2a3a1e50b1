"""The judge: main's rules, applied to what a proposal built, seen as data only."""
