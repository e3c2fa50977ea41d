"""Measurements that users can repeat: `python -m tests.bench NAME`."""
