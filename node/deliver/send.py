"""Send a folder of DICOM files to any Storage SCP, as `isocenter send` does."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from node.deliver.storescu import MOST_CONTEXTS, OutgoingObject, StoreResult, store
from node.errors import ConfigError, NotUnderstood
from node.records import Address


def outgoing_file(path: Path) -> OutgoingObject:
    """Return a DICOM file as an object to send, by its File Meta Information; NotUnderstood where it has none."""
    try:
        meta = read_file_meta_info(path)
        return OutgoingObject(
            path=path,
            sop_class_uid=str(meta.MediaStorageSOPClassUID),
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
            transfer_syntax_uid=str(meta.TransferSyntaxUID),
        )
    except InvalidDicomError as error:
        raise NotUnderstood(f"{path} is not a DICOM file") from error
    except (AttributeError, EOFError, OSError, ValueError) as error:
        raise NotUnderstood(f"{path} cannot be sent: {error}") from error


def readable(folder: Path) -> tuple[list[OutgoingObject], list[str]]:
    """Return the DICOM files below a folder, and a sentence for every other file; ConfigError where there are none."""
    objects: list[OutgoingObject] = []
    others: list[str] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            objects.append(outgoing_file(path))
        except NotUnderstood as error:
            others.append(str(error))
    if not objects:
        raise ConfigError(f"{folder} holds no DICOM files")
    return objects, others


def send(
    objects: Sequence[OutgoingObject], address: Address, calling: str, *, seconds: float = 30
) -> Iterator[tuple[OutgoingObject, StoreResult]]:
    """Send files and yield the result of each; over one association, or more where they need too many contexts."""
    left = iter(objects)
    while group := list(islice(left, _group_size(objects))):
        yield from zip(group, store(address, calling, group, seconds=seconds), strict=True)


def _group_size(objects: Sequence[OutgoingObject]) -> int:
    contexts = {(outgoing.sop_class_uid, outgoing.transfer_syntax_uid) for outgoing in objects}
    return len(objects) if len(contexts) <= MOST_CONTEXTS else MOST_CONTEXTS
