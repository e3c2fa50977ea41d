"""What stands behind a plugin's answers: the kind that plugin.toml declares, and how it is told to a reader."""

from enum import StrEnum


class Kind(StrEnum):
    """The kind of a plugin, which is that of the weakest network that it asks."""

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
"""What a reader is told of each kind."""
SHORT = {
    Kind.DETERMINISTIC: "deterministic",
    Kind.SELF_TRAINED: "not validated",
    Kind.DEMONSTRATION: "demonstration",
    Kind.VALIDATED: "validated",
    Kind.UNVALIDATED: "validation unknown",
}
"""The same in the few characters of a Series Description."""
DEMONSTRATION = "DEMONSTRATION – NETWORK TRAINED ON SYNTHETIC IMAGES – NOT VALID FOR PATIENTS"
"""Stands on every picture and first in every report of a plugin of kind C, those on phantoms too."""
CHOICES = "; ".join(f"{kind}, {STATEMENTS[kind].rstrip('.').format(validated_on='…')}" for kind in Kind)
