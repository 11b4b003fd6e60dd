"""One file a fault class family."""
