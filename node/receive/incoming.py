"""One instance while it is received, and the protocol of whatever stores it."""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from node.errors import NodeError, NotUnderstood
from node.images.elements import PIXELS, UNDEFINED, Walk
from node.images.header_summary import summarize
from node.images.part10 import file_header
from node.receive.header_fields import (
    LARGEST_HEADER,
    LAST_TAG,
    ReceivedHeader,
    inflated,
    is_deflated,
    pick,
    read_values,
    values_of_whole,
    walked,
)
from node.spool import Buffer, Pack

BEGINNING = 64 * 1024
"""So many bytes of a data set are searched for its header first, before all of it is."""


class IncomingState(StrEnum):
    """OPEN → WHOLE → DURABLE; or REFUSED, from OPEN or from WHOLE."""

    OPEN = "open"
    """Its data set is still being received."""
    WHOLE = "whole"
    """All of its data set was received."""
    DURABLE = "durable"
    """It is in its pack, and synced where the spool syncs each instance: Success may be answered."""
    REFUSED = "refused"
    """It is not kept; where its end has not come yet, the rest is passed over."""


@dataclass(slots=True)
class OpenPack:
    """The pack that an association writes to, and the study in it."""

    pack: Pack
    study_uid: str


@dataclass(kw_only=True, eq=False)
class IncomingInstance:
    """The instance of one C-STORE request: who sent it, what came of its data set, and how far it is.

    Parameters
    ----------
    parts
        The bytes of the data set that came and are not written yet, in order. Most instances are held whole. A larger
        instance is written in pieces as it comes: `pack` is then the pack that has its beginning, which no other
        instance of the association uses meanwhile.
    originator
        AE title that asked for the instance by C-MOVE, where the sender names it.
    failure
        Why the instance is refused, where that is known before its end has come.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    association: Association
    calling: str
    peer: str
    originator: str = ""
    parts: list[Buffer] = field(default_factory=list)
    state: IncomingState = IncomingState.OPEN
    pack: OpenPack | None = None
    failure: NodeError | None = None
    _header: ReceivedHeader | None = field(default=None, init=False)
    _beginning: bytes = field(default=b"", init=False)
    _pixel_data: tuple[int, int] = field(default=(0, 0), init=False)  # where they begin, and the length that they state

    @classmethod
    def of(cls, event: evt.Event) -> "IncomingInstance":
        """Return the whole instance of pynetdicom's event for C-STORE."""
        request = event.request
        if not isinstance(request, C_STORE):
            raise TypeError("this handler is bound to C-STORE alone")
        return cls(
            sop_class_uid=str(request.AffectedSOPClassUID or ""),
            sop_instance_uid=str(request.AffectedSOPInstanceUID or ""),
            transfer_syntax_uid=str(event.context.transfer_syntax),
            parts=[request.DataSet.getvalue() if request.DataSet else b""],
            association=event.assoc,
            calling=event.assoc.requestor.ae_title,
            peer=str(event.assoc.requestor.address),
            originator=str(request.MoveOriginatorApplicationEntityTitle or "").strip(),
            state=IncomingState.WHOLE,
        )

    @cached_property
    def meta(self) -> bytes:
        """What stands before the data set in its Part 10 file: preamble, prefix and File Meta Information."""
        return file_header(
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
        )

    @property
    def body(self) -> bytes:
        """The parts in one piece."""
        return b"".join(self.parts)

    @property
    def beginning(self) -> bytes:
        """The first `BEGINNING` bytes of the parts."""
        first = self.parts[0] if self.parts else b""
        return bytes((first if len(first) >= BEGINNING else self.body)[:BEGINNING])

    @property
    def is_held(self) -> bool:
        """Whether all that came of it is still in `parts`."""
        return self.pack is None and self.failure is None

    def begin(self, pack: OpenPack) -> None:
        """Have its parts written to a pack, from its meta on, before its end has come."""
        self.pack = pack
        self.parts.insert(0, self.meta)

    def write_parts(self) -> None:
        """Write the parts to the pack; SpoolFull where they cannot be written."""
        if self.pack is not None:
            self.pack.pack.write(*self.parts)
        self.parts = []

    def refuse(self, failure: NodeError) -> None:
        """Refuse the instance before its end has come; of its parts only the beginning is kept, for its header."""
        if self.pack is None:
            self._beginning = self.beginning
        self.parts = []
        self.failure, self.state = failure, IncomingState.REFUSED

    def header(self) -> ReceivedHeader:
        """Return the header; NotUnderstood where it cannot be read."""
        if self._header is None:
            self._header = self._header_of_parts() if self.is_held else self._header_of_written()
        return self._header

    def header_of_beginning(self) -> ReceivedHeader | None:
        """Return the header where the first parts have all that is needed of it, and None otherwise."""
        if is_deflated(self.transfer_syntax_uid):
            return None
        walk = walked(self.beginning, self.transfer_syntax_uid)
        picked = pick(walk, whole=False, last_tag=LAST_TAG)
        self._header = None if picked is None else ReceivedHeader(picked, self._summary(walk))
        return self._header

    def _header_of_parts(self) -> ReceivedHeader:
        syntax = self.transfer_syntax_uid
        if is_deflated(syntax):
            return ReceivedHeader(values_of_whole(inflated(self.body, whole=True), str(ExplicitVRLittleEndian)))
        beginning = self.beginning
        walk = walked(beginning, syntax)
        picked = pick(walk, whole=len(beginning) == sum(map(len, self.parts)))
        values = picked if picked is not None else values_of_whole(self.body, syntax)
        return ReceivedHeader(values, self._summary(walk))

    def _header_of_written(self) -> ReceivedHeader:
        """Return the header by what lies in the pack, or by the beginning of a refused instance."""
        syntax, data, whole = self.transfer_syntax_uid, self._beginning, False
        if self.pack is not None:
            written = self.pack.pack.beginning(LARGEST_HEADER)
            data, whole = written[len(self.meta) :], len(written) < LARGEST_HEADER
        if is_deflated(syntax):
            syntax, data = str(ExplicitVRLittleEndian), inflated(data, whole=whole)
        walk = walked(data, syntax)
        picked = pick(walk, whole=False, last_tag=LAST_TAG)
        values = picked if picked is not None else read_values(data, syntax, stop_at=LAST_TAG + 1)
        return ReceivedHeader(values, self._summary(walk))

    def check_pixel_data(self) -> None:
        """Raise NotUnderstood where the pixel data state a length of which less came: the rest of them is lost.

        Encapsulated pixel data state none. It is known once the header was read.
        """
        value_at, stated = self._pixel_data
        came = sum(map(len, self.parts)) - value_at
        if self.pack is not None:
            came += self.pack.pack.begun - len(self.meta)
        if stated != UNDEFINED and came < stated:
            raise NotUnderstood(
                f"the pixel data state {stated} bytes, and {max(came, 0)} came; the sender's copy is damaged"
            )

    def _summary(self, walk: Walk) -> str:
        if walk.tag in PIXELS and not is_deflated(self.transfer_syntax_uid):
            self._pixel_data = (walk.value_at, walk.length)
        return summarize(walk, self.transfer_syntax_uid, before=len(self.meta))


class Store(Protocol):
    """Stores the instances that associations bring: `finish` for each, after `write` for those that are large."""

    def write(self, instance: IncomingInstance) -> None:
        """Take the parts of an instance that is too large to be held; their memory is used again afterwards."""

    def finish(self, instance: IncomingInstance) -> int:
        """Return the C-STORE status of a whole instance, once it is durable or refused."""

    def drop(self, instance: IncomingInstance) -> None:
        """Forget an instance of which parts were written and whose end will not come."""

    def cut(self, instance: IncomingInstance) -> None:
        """Forget an instance whose association ended before all of it had come, and have this noted."""

    def close(self, association: Association, *, released: bool) -> None:
        """Let go of what is held for an association that is over: by release, or in any other way."""
