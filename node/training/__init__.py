"""Train the networks that come with the node, on phantoms."""
