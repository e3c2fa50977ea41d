"""Structured reports: Comprehensive 3D SR (PS3.3 A.35.13) of template TID 1500."""

from node.compose.sr.report import compose_sr

__all__ = ["compose_sr"]
