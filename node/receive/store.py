"""From a received data set to durable bytes: what stands between an association and the spool."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import structlog
from pynetdicom.association import Association

from node.completeness import Ending, PackEnd
from node.errors import LedgerUnavailable, NotUnderstood, SpoolFull
from node.faults import fault
from node.receive.arrivals import Arrivals
from node.receive.c_store import CANNOT_UNDERSTAND, MISMATCH, OUT_OF_RESOURCES, SUCCESS
from node.receive.header_fields import REQUIRED, UID, HeaderValues
from node.receive.incoming import IncomingInstance, IncomingState, OpenPack
from node.receive.priority import urgency
from node.records import Instance, Refusal
from node.spool import PACK_LIMIT, Spool

log = structlog.get_logger()

CUT = "the association ended before all of it had come"


@dataclass(slots=True)
class Bringing:
    """What one association brings: its name in the ledger, its pack, whether it was released, or refused anything."""

    association: str
    begun: float = field(default_factory=time.monotonic)
    instances: int = 0
    refusals: int = 0
    studies: set[str] = field(default_factory=set)
    ended: bool = False
    pack: OpenPack | None = None
    refused: bool = False
    released: bool = False
    calling: str = ""
    peer: str = ""


class StoreScp:
    """The `Store` of a node: answers Success only for what is durable.

    One StoreScp serves all associations; each of them has a pack of its own.

    Parameters
    ----------
    closed
        Called whenever a pack was closed.
    pack_limit
        A pack of so many bytes is followed by another.
    """

    def __init__(
        self,
        spool: Spool,
        arrivals: Arrivals,
        *,
        closed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        pack_limit: int = PACK_LIMIT,
    ) -> None:
        self._spool = spool
        self._arrivals = arrivals
        self._closed = closed
        self._clock = clock
        self._pack_limit = pack_limit
        self._bringing: WeakKeyDictionary[Association, Bringing] = WeakKeyDictionary()

    def write(self, instance: IncomingInstance) -> None:
        """Write the parts of an instance that is too large to be held, or pass over them where it is refused."""
        if instance.state is IncomingState.OPEN:
            try:
                if instance.pack is None:
                    self._begin(instance)
                instance.write_parts()
            except (SpoolFull, LedgerUnavailable, NotUnderstood) as error:
                instance.refuse(error)
        instance.parts = []

    def finish(self, instance: IncomingInstance) -> int:
        """Return the status of a whole instance, once it is durable or refused with a reason."""
        try:
            self._arrivals.check_ledger()
            self._spool.check_space()
            self._keep(instance)
        except (SpoolFull, LedgerUnavailable) as error:
            return self._refuse(instance, OUT_OF_RESOURCES, str(error))
        except Mismatch as error:
            return self._refuse(instance, MISMATCH, str(error))
        except NotUnderstood as error:
            return self._refuse(instance, CANNOT_UNDERSTAND, str(error))
        except Exception as error:  # noqa: BLE001 (one of four: the association lives on, the sender keeps the data)
            log.error("instance.failed", reason=f"{type(error).__name__}: {error}")
            return self._refuse(instance, OUT_OF_RESOURCES, f"the node failed on it: {type(error).__name__}")
        fault("receive.answer")
        return SUCCESS

    def drop(self, instance: IncomingInstance) -> None:
        """Forget what was written of an instance; a pack with nothing else in it is removed."""
        pack, instance.pack = instance.pack, None
        if pack is None:
            return
        pack.pack.drop()
        if pack.pack.size:
            self._of(instance.association).pack = pack
        else:
            pack.pack.remove()

    def cut(self, instance: IncomingInstance) -> None:
        """Forget an instance whose association ended before all of it had come; its study is not complete."""
        if instance.state is IncomingState.OPEN:
            log.warning("instance.cut", instance=instance.sop_instance_uid, calling=instance.calling)
            self._note_refusal(instance, _study_of_beginning(instance), CUT)
        self.drop(instance)

    def close(self, association: Association, *, released: bool) -> None:
        """Close the pack of an association that is over, and have it noted how it ended; once, whoever calls again."""
        bringing = self._bringing.get(association)
        if bringing is None:
            return
        pack, bringing.pack = bringing.pack, None
        if released and not bringing.released:
            bringing.released = True
            self._arrivals.put(PackEnd(at=self._clock(), how=Ending.RELEASED, association=bringing.association))
        elif pack is not None and not released:
            self._arrivals.put(PackEnd(at=self._clock(), how=Ending.ABORTED, pack=pack.pack.name))
        if not bringing.ended:
            bringing.ended = True
            self._log_end(bringing, released=released)
        if pack is not None:
            pack.pack.close(whole=released and not bringing.refused)
            self._closed()

    def _log_end(self, bringing: Bringing, *, released: bool) -> None:
        log_end = log.info if released else log.warning
        log_end(
            "association.released" if released else "association.broken",
            calling=bringing.calling,
            address=bringing.peer,
            instances=bringing.instances,
            refused=bringing.refusals,
            studies=sorted(bringing.studies),
            seconds=round(time.monotonic() - bringing.begun, 3),
        )

    def _begin(self, instance: IncomingInstance) -> None:
        """Give an instance its pack before its end has come; raise what it will be refused for, if that shows already.

        Its study is unknown where its beginning does not name it.
        """
        self._arrivals.check_ledger()
        self._spool.check_space()
        check_request(instance)
        study_uid = ""
        if (header := instance.header_of_beginning()) is not None:
            check_identity(header.values, instance)
            study_uid = str(header.values["StudyInstanceUID"])
        pack = self._pack(instance.association, study_uid)
        self._of(instance.association).pack = None
        instance.begin(pack)

    def _keep(self, instance: IncomingInstance) -> None:
        """Make a whole instance durable, and have its row written."""
        check_request(instance)
        if not instance.is_held:
            self.write(instance)
            if instance.failure is not None:
                raise instance.failure
        instance.state = IncomingState.WHOLE
        header = instance.header()
        check_identity(header.values, instance)
        instance.check_pixel_data()
        row = Instance(
            sop_instance_uid=instance.sop_instance_uid,
            sop_class_uid=instance.sop_class_uid,
            study_uid=str(header.values.get("StudyInstanceUID")),
            series_uid=str(header.values.get("SeriesInstanceUID")),
            modality=str(header.values.get("Modality") or "")[:16],
            transfer_syntax_uid=instance.transfer_syntax_uid,
            calling=instance.calling,
            peer=instance.peer,
            received_at=self._clock(),
            checksum=0,
            urgency=urgency(header.values),
            note=header.summary,
            originator=instance.originator,
        )
        if instance.pack is not None:
            arrival = instance.pack.pack.append(row)
            self._of(instance.association).pack = OpenPack(instance.pack.pack, row.study_uid)
            instance.pack = None
        else:
            pack = self._pack(instance.association, row.study_uid)
            arrival = pack.pack.append(row, instance.meta, *instance.parts)
        instance.state = IncomingState.DURABLE
        self._arrivals.put(arrival)
        bringing = self._named(instance)
        bringing.instances += 1
        bringing.studies.add(row.study_uid)

    def _pack(self, association: Association, study_uid: str) -> OpenPack:
        """Return the pack to append to: a new one for another study, or when the old one is large or broken."""
        bringing = self._of(association)
        pack = bringing.pack
        if pack is None or pack.study_uid != study_uid or pack.pack.size >= self._pack_limit or pack.pack.broken:
            self._leave(bringing)
            pack = bringing.pack = OpenPack(self._spool.open_pack(bringing.association), study_uid)
        return pack

    def _leave(self, bringing: Bringing) -> None:
        """Close the pack of an association that goes on."""
        pack, bringing.pack = bringing.pack, None
        if pack is not None:
            self._arrivals.put(PackEnd(at=self._clock(), how=Ending.CONTINUED, pack=pack.pack.name))
            pack.pack.close()
            self._closed()

    def _of(self, association: Association) -> Bringing:
        bringing = self._bringing.get(association)
        if bringing is None:
            bringing = self._bringing[association] = Bringing(self._spool.new_name())
        return bringing

    def _named(self, instance: IncomingInstance) -> Bringing:
        """Return what the association of an instance brings, with the names of its sender."""
        bringing = self._of(instance.association)
        bringing.calling, bringing.peer = instance.calling, instance.peer
        return bringing

    def _refuse(self, instance: IncomingInstance, status: int, reason: str) -> int:
        uid = instance.sop_instance_uid
        log.warning("instance.refused", instance=uid, calling=instance.calling, reason=reason)
        study_uid = _study_of(instance)
        self.drop(instance)
        instance.state = IncomingState.REFUSED
        self._note_refusal(instance, study_uid, reason)
        return status

    def _note_refusal(self, instance: IncomingInstance, study_uid: str, reason: str) -> None:
        bringing = self._named(instance)
        bringing.refused = True
        bringing.refusals += 1
        self._arrivals.put(
            Refusal(
                at=self._clock(),
                sop_instance_uid=instance.sop_instance_uid,
                sop_class_uid=instance.sop_class_uid,
                study_uid=study_uid,
                calling=instance.calling,
                peer=instance.peer,
                reason=reason,
                association=bringing.association,
            )
        )


class Mismatch(NotUnderstood):
    """The data set is of another SOP class than the request says."""


def check_request(instance: IncomingInstance) -> None:
    """Raise NotUnderstood where a request does not name its instance and SOP class."""
    if not (UID.fullmatch(instance.sop_instance_uid) and UID.fullmatch(instance.sop_class_uid)):
        raise NotUnderstood("the request does not say which instance of which SOP class it brings")


def check_identity(values: HeaderValues, instance: IncomingInstance) -> None:
    """Raise NotUnderstood where a data set lacks a UID that it must have, or names another instance than the request.

    Mismatch where it is of another SOP class than the request says.
    """
    for keyword in REQUIRED:
        value = values.get(keyword)
        if not value:
            raise NotUnderstood(f"the data set has no {keyword}")
        if not UID.fullmatch(str(value)):
            raise NotUnderstood(f"the data set's {keyword} is no UID")
    sop_class_uid, sop_instance_uid = values.get("SOPClassUID"), values.get("SOPInstanceUID")
    if sop_class_uid != instance.sop_class_uid:
        raise Mismatch(f"the data set is of SOP class {sop_class_uid}, the request of {instance.sop_class_uid}")
    if sop_instance_uid != instance.sop_instance_uid:
        raise NotUnderstood(f"the data set is instance {sop_instance_uid}, the request another")


def _study_of_beginning(instance: IncomingInstance) -> str:
    """Return the study of an instance whose end will not come; empty where what came does not name it."""
    header = instance.header_of_beginning() if instance.is_held else None
    if header is None and instance.is_held:
        return ""
    return _study_of(instance)


def _study_of(instance: IncomingInstance) -> str:
    """Return the study of a refused instance, under which `explain` shows the refusal; empty where it is unknown."""
    try:
        uid = str(instance.header().values.get("StudyInstanceUID") or "")
    except NotUnderstood:
        return ""
    return uid if UID.fullmatch(uid) else ""
