"""A synthetic study for each plugin, which shows its task."""
