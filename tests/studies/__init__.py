"""One synthetic study for each plugin, which shows its task: for flow tests, and for a run of every modality."""
