"""A small study for each plugin that shows what it is for: `images()` of its module."""
