"""A made study for each plugin, small enough to be analysed in seconds, on which it finds what it looks for."""
