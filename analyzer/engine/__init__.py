"""The diagnosis engine: words only, no input or output."""
