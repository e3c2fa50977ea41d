"""One small synthetic study for each plugin: `images()` of the module that has its name."""
