"""What storage holds: what a login may do there, and moving it elsewhere."""
