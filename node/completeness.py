"""Whether a study is whole: how associations left their packs, and what was refused, as frozen values."""

from dataclasses import dataclass
from enum import StrEnum


class Ending(StrEnum):
    """How the association that wrote a pack went on."""

    RELEASED = "released"
    """It ended by A-RELEASE: the sender had sent what it wanted to send."""
    CONTINUED = "continued"
    """It goes on with another pack: with another study, or because this pack was full."""
    ABORTED = "aborted"
    """It ended by A-ABORT, or its connection broke."""
    BROKEN = "broken"
    """The process that received it died, or was killed before it could tell how the association ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackEnd:
    """How an association left a pack. Without `pack`: left all its packs, those with an earlier end included."""

    at: float
    how: Ending
    pack: str = ""
    association: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackState:
    """A pack in which an association brought a study, as its row has it."""

    name: str
    mark: int
    association: str
    calling: str
    begun_at: float
    ended: Ending | None
    ended_at: float

    @property
    def failed(self) -> bool:
        """Whether its association ended otherwise than by release."""
        return self.ended in (Ending.ABORTED, Ending.BROKEN)

    def makes_good(self, other: "PackState") -> bool:
        """Return whether the same sender called again after another association had failed, and was released."""
        later = self.begun_at >= other.ended_at and self.calling == other.calling
        return later and self.ended is Ending.RELEASED


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEvidence:
    """What shows that a study is complete, or is not: its packs, and what was refused and has not come again."""

    packs: tuple[PackState, ...]
    refused: int
    refused_at: float = 0.0

    @property
    def failed(self) -> list[PackState]:
        """The packs of associations that failed and were not made good."""
        return [pack for pack in self.packs if pack.failed and not any(other.makes_good(pack) for other in self.packs)]

    @property
    def at(self) -> float:
        """When the last evidence came that something is missing; 0 where there is none."""
        return max([self.refused_at, *(pack.ended_at for pack in self.failed)])

    @property
    def caveat(self) -> str:
        """What is missing, in a sentence without full stop; empty where nothing shows it."""
        broken = len(self.failed)
        parts = []
        if self.refused:
            were, have = ("instance was", "has") if self.refused == 1 else ("instances were", "have")
            parts.append(f"{self.refused} {were} refused and {have} not come again")
        if broken:
            some = "an association that brought it" if broken == 1 else f"{broken} associations that brought it"
            parts.append(f"{some} ended without release, and nobody called again")
        return "; ".join(parts)
