"""Structured reports of template TID 1500."""
