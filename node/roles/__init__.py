"""The roles of a node: receive, work and deliver. A machine has one of them, or all."""
