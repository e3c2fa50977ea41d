"""The commands of `isocenter`, one file each; `node.cli` reads their arguments."""
