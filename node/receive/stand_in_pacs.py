"""A stand-in PACS for the demo and for trying things: stores every object as a file in a folder."""

from pathlib import Path

from pynetdicom import evt
from pynetdicom.association import Association

from node.receive.access import KnownPeers
from node.receive.scp import Receiver
from node.receive.store import SUCCESS, Received
from node.records import Address


class FolderStore:
    """Answers C-STORE by writing FOLDER/Study Instance UID/SOP Instance UID.dcm."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_store(self, event: evt.Event) -> int:
        """Write one object as it came."""
        received = Received.of(event)
        target = self._folder / str(received.told().header.get("StudyInstanceUID")) / f"{received.sop_instance_uid}.dcm"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(received.head + received.body)
        return SUCCESS

    def close(self, association: Association) -> None:
        """Nothing is held for an association."""


def stand_in_pacs(ae_title: str, folder: Path) -> Receiver:
    """Return a PACS of sorts, on a free port of this machine alone; `start` and `stop` it."""
    return Receiver(
        address=Address(ae_title, "127.0.0.1", 0),
        peers=KnownPeers.parse(ae_title, ()),
        store=FolderStore(folder),
        associations=10,
        idle_seconds=60,
    )
