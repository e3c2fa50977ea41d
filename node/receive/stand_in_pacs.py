"""A stand-in PACS for the demo and for experiments: it stores every object as a file in a folder."""

from pathlib import Path

from pynetdicom.association import Association

from node.errors import NotUnderstood
from node.receive.access import KnownPeers
from node.receive.c_store import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, SUCCESS
from node.receive.incoming import IncomingInstance
from node.receive.scp import Receiver
from node.receive.store import check_identity, check_request
from node.records import Address


class FolderStore:
    """A `Store` that writes FOLDER/Study Instance UID/SOP Instance UID.dcm."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, instance: IncomingInstance) -> None:
        """Hold the parts of a large instance in memory, outside the buffer that they were received in."""
        instance.parts = [bytes(part) for part in instance.parts]

    def finish(self, instance: IncomingInstance) -> int:
        """Write one object as it was received; a file of the same name is replaced."""
        try:
            values = instance.header().values
            check_request(instance)
            check_identity(values, instance)
            path = self._folder / str(values["StudyInstanceUID"]) / f"{instance.sop_instance_uid}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(instance.meta + instance.body)
        except NotUnderstood:
            return CANNOT_UNDERSTAND
        except OSError:
            return OUT_OF_RESOURCES
        return SUCCESS

    def drop(self, instance: IncomingInstance) -> None:
        """Do nothing: no part of it was written."""

    def cut(self, instance: IncomingInstance) -> None:
        """Do nothing: no part of it was written."""

    def close(self, association: Association, *, released: bool) -> None:
        """Do nothing: nothing is held for an association."""


def stand_in_pacs(ae_title: str, folder: Path) -> Receiver:
    """Return a stand-in PACS on a free port of this machine; the caller starts and stops it."""
    return Receiver(
        address=Address(ae_title, "127.0.0.1", 0),
        peers=KnownPeers.parse(ae_title, ()),
        store=FolderStore(folder),
        associations=10,
        idle_seconds=60,
    )
