"""From what a plugin returned to DICOM objects, one file per kind of object."""

from node.compose.composers import DEFAULT, KINDS, Case, compose, compose_for, compose_kinds
from node.compose.fallback import fall_back
from node.compose.finish import write
from node.compose.identity import Identity
from node.compose.stored_objects import identify, keep, keep_page, reports
from node.compose.summary_page import picture

__all__ = [
    "DEFAULT",
    "KINDS",
    "Case",
    "Identity",
    "compose",
    "compose_for",
    "compose_kinds",
    "fall_back",
    "identify",
    "keep",
    "keep_page",
    "picture",
    "reports",
    "write",
]
