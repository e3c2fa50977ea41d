"""The plugins that come with isocenter; each folder is one."""
