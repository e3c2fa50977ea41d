"""What the commands of `isocenter` do, one file each; `node.cli` reads their arguments."""
