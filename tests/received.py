"""Instances received without a network: through the receiver's own store, into spool and ledger."""

from collections.abc import Iterable
from io import BytesIO

from pydicom.dataset import Dataset

from node.ledger import Ledger
from node.receive import Arrivals, StoreScp
from node.receive.c_store import SUCCESS
from node.receive.incoming import IncomingInstance
from node.spool import Spool


class Association:
    """Stands for the association that brings them."""


def receive(spool: Spool, ledger: Ledger, images: Iterable[Dataset]) -> None:
    """Have images stored over one association, and recorded."""
    association, arrivals = (
        Association(),
        Arrivals(ledger.studies, ledger.instances, spool, wake=lambda: None),
    )
    store = StoreScp(spool, arrivals)
    for image in images:
        file = BytesIO()
        image.save_as(file, enforce_file_format=True)
        content = file.getvalue()
        instance = IncomingInstance(
            sop_class_uid=str(image.SOPClassUID),
            sop_instance_uid=str(image.SOPInstanceUID),
            transfer_syntax_uid=str(image.file_meta.TransferSyntaxUID),
            parts=[content[144 + int.from_bytes(content[140:144], "little") :]],
            association=association,  # type: ignore[arg-type]
            calling="CT1",
            peer="127.0.0.1",
        )
        assert store.finish(instance) == SUCCESS
    store.close(association, released=True)  # type: ignore[arg-type]
    arrivals.record()
