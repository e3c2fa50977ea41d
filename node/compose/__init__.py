"""From what a plugin returned to DICOM objects, one file for each kind of object."""

from node.compose.case import Case
from node.compose.composers import KINDS, compose, compose_by_kind
from node.compose.fallback import fall_back
from node.compose.finish import write_object
from node.compose.identity import Identity
from node.compose.job_objects import compose_job, job_identity
from node.compose.summary_page import draw_summary_page

__all__ = [
    "KINDS",
    "Case",
    "Identity",
    "compose",
    "compose_by_kind",
    "compose_job",
    "draw_summary_page",
    "fall_back",
    "job_identity",
    "write_object",
]
