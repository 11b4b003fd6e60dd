"""The job comes back: state kept in memory (`memory/`), and later who decides what is done with it."""
