"""The identity of a run of a plugin: UIDs, time, numbers, and the names of node, plugin and models."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid5

from pydicom.dataset import Dataset

from node.codes import DCM, Code
from node.compose.ascii_text import LO, plain
from node.host.kind import DEMONSTRATION, SHORT, STATEMENTS, Kind
from node.images.part10 import IMPLEMENTATION_VERSION_NAME
from node.images.usable_values import ZONE, ZONE_KEYWORD

MANUFACTURER = "isocenter project"
MODEL_NAME = "isocenter"
SOFTWARE_VERSIONS = IMPLEMENTATION_VERSION_NAME
FORM: Mapping[str, Any] = {"variant": "", "objects": (), "first_series_number": 0, "description_format": ""}
"""Fields that decide how results are presented, and not what they are about."""
RESEARCH_USE = "Research use only, unverified: computed without human review, not for diagnosis."
"""Stated in every report and on every picture."""

_NAMESPACE = UUID("7b1c6f0a-64d2-4d0e-9a5e-0c3b54f6a1d7")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One run of one plugin on one revision of a study: all that decides the content of its objects.

    Equal identities give equal results, and these equal bytes. UIDs are derived from every field, so whatever else
    decides the content of an object must be a field.

    Parameters
    ----------
    study_uid, revision
        Study Instance UID, and number of the state of the study.
    plugin, version
        Name and version of the plugin, as its manifest gives them: "ct_lung", "1.0.0".
    title
        Name of the algorithm for a reader: "CT lung".
    manufacturer
        Manufacturer of the plugin; may be empty.
    kind, validated_on
        What stands behind the answers: see `node.host.kind`.
    models
        Served models with their versions: "ct_lung 1".
    at
        Time when the job was planned; all dates and times of the objects are this time.
    first_series_number
        Series Number of the first object; the others follow.
    device_uid
        UID of this node, the same in all objects (PS3.16 TID 1004).
    part
        Number of the run, from 0, for a job with several runs; each run has objects of its own.
    family
        Algorithm Family (PS3.16 CID 7162).
    variant
        Distinguishes objects that are made of the same results for destinations with different profiles.
    inputs
        Digest of what the run reads: UIDs and bytes of the images of study and priors, what is known to be missing,
        whether a demonstration is allowed, and the predecessors.
    objects
        Kinds of objects that are composed together: they refer to one another, and are numbered together.
    description_format
        Format of Series Description with {kind}, {plugin}, {version} and {title}; empty for the default.
    """

    study_uid: str
    revision: int
    plugin: str
    version: str
    title: str
    manufacturer: str
    models: tuple[str, ...]
    at: datetime
    first_series_number: int
    device_uid: str
    kind: Kind = Kind.UNVALIDATED
    validated_on: str = ""
    part: int = 0
    family: Code = DCM.ArtificialIntelligence
    variant: str = ""
    description_format: str = ""
    inputs: str = ""
    objects: tuple[str, ...] = ()

    def uid(self, *names: str) -> str:
        """Return a UID derived from the identity and from names, the same at every run (PS3.5 B.2: 2.25 and a UUID)."""
        decides = {field.name: getattr(self, field.name) for field in fields(self)}
        named = json.dumps([SOFTWARE_VERSIONS, decides, names], default=str)
        return f"2.25.{uuid5(_NAMESPACE, named).int}"

    def tracking_uid(self, *names: str) -> str:
        """Return a Tracking UID (PS3.16 TID 4108), the same in the objects of all destinations."""
        return replace(self, **FORM).uid("tracking", *names)

    def series_description(self, kind: str) -> str:
        """Return Series Description, within the 64 characters of LO: "AI SEG ct_lung 1.0.0 (deterministic, research)".

        That of a demonstration begins with the word, since viewers cut what is long.
        """
        if self.description_format:
            words = {"kind": kind, "plugin": self.plugin, "version": self.version, "title": self.title}
            return plain(self.warned(self.description_format.format(**words)), LO)
        tail = f" {plain(self.version, 20)} ({self.in_short})"
        return plain(self.warned(f"AI {kind} {self.plugin}"), LO - len(tail)) + tail

    def report_description(self, glance: str) -> str:
        """Return the Series Description of a report: what it says at a glance, "AI CT lung: emphysema 8 % (research)".

        The kind of the plugin stands in the brackets too, as in `series_description`. A format of the profile is used
        as it is.
        """
        if self.description_format:
            return self.series_description("SR")
        tail = f" ({self.in_short})"
        return plain(self.warned(f"AI {glance}"), LO - len(tail)) + tail

    @property
    def glance_length(self) -> int:
        """How many characters `report_description` has for what is seen at a glance: it cuts off what is longer."""
        return LO - len(self.warned("AI ")) - len(f" ({self.in_short})")

    @property
    def is_demonstration(self) -> bool:
        """Whether a network answers that was trained on phantoms."""
        return self.kind is Kind.DEMONSTRATION

    def warned(self, words: str) -> str:
        """Return a title or description, which begins with DEMONSTRATION if it is one."""
        return f"DEMONSTRATION: {words}" if self.is_demonstration else words

    @property
    def in_short(self) -> str:
        """The kind and the state of the results, for the end of a description."""
        return "research" if self.is_demonstration else f"{SHORT[self.kind]}, research"

    def content_description(self, words: str = "") -> str:
        """Return Content Description, within the 64 characters of LO, of some words, else of the title."""
        tail = f": {self.in_short} use, unverified"
        return plain(self.warned(words or self.title or self.plugin), LO - len(tail)) + tail

    @property
    def notices(self) -> tuple[str, str]:
        """What stands first in every report and on every picture: what is behind the answers, and what they are for."""
        told = STATEMENTS[self.kind].format(validated_on=self.validated_on)
        return DEMONSTRATION if self.is_demonstration else told, RESEARCH_USE

    @property
    def algorithm(self) -> str:
        """Algorithm Name (PS3.3 10.16): the title, else the name of the plugin; at most 64 characters."""
        return plain(self.warned(self.title.strip() or self.plugin), LO)

    @property
    def parameters(self) -> dict[str, str]:
        """Algorithm Parameters: the plugin and the models in their order, with their versions."""
        models = {f"model {index}": plain(model) for index, model in enumerate(self.models, 1)}
        return {"plugin": plain(f"{self.plugin} {self.version}"), **models}

    def moment(self, header: Dataset) -> tuple[str, str]:
        """Return date (DA) and time (TM) of the job, in the time zone that the images declare (PS3.3 C.12.1.1.8)."""
        at = self.at
        offset = str(header.get(ZONE_KEYWORD) or "").strip()
        if at.tzinfo is not None and ZONE.fullmatch(offset):
            minutes = int(offset[1:3]) * 60 + int(offset[3:])
            at = at.astimezone(timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)))
        return at.strftime("%Y%m%d"), at.strftime("%H%M%S")
