"""The kind of a plugin: whether its networks were trained and validated, and the words for it in reports."""

from enum import StrEnum


class Kind(StrEnum):
    """The kind of a plugin: the kind of the least validated network that it asks."""

    DETERMINISTIC = "A"
    SELF_TRAINED = "B"
    DEMONSTRATION = "C"
    VALIDATED = "V"
    UNVALIDATED = "U"


STATEMENTS = {
    Kind.DETERMINISTIC: "Deterministic method, no trained network.",
    Kind.SELF_TRAINED: "Network trained without labels, not validated on patients.",
    Kind.DEMONSTRATION: "Demonstration: network trained on synthetic images (phantoms).",
    Kind.VALIDATED: "Network validated on {validated_on}.",
    Kind.UNVALIDATED: "Network brought by its user, validation unknown.",
}
"""The sentence about each kind in reports."""
SHORT = {
    Kind.DETERMINISTIC: "deterministic",
    Kind.SELF_TRAINED: "not validated",
    Kind.DEMONSTRATION: "demonstration",
    Kind.VALIDATED: "validated",
    Kind.UNVALIDATED: "validation unknown",
}
"""A few words for each kind, short enough for a Series Description."""
DEMONSTRATION = "DEMONSTRATION – NETWORK TRAINED ON SYNTHETIC IMAGES – NOT VALID FOR PATIENTS"
"""A notice on every picture and at the top of every report of a plugin of kind C, also of phantoms."""
CHOICES = "; ".join(f"{kind}, {STATEMENTS[kind].rstrip('.').format(validated_on='…')}" for kind in Kind)
