"""Send a folder of DICOM files to any Storage SCP: a modality for trying things."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from node.deliver.storescu import CONTEXTS, Answer, Parcel, store
from node.errors import ConfigError, NotUnderstood
from node.records import Address


def parcel(path: Path) -> Parcel:
    """Return a DICOM file as something to send, by its File Meta Information; NotUnderstood where it has none."""
    try:
        meta = read_file_meta_info(path)
        return Parcel(
            path=path,
            sop_class_uid=str(meta.MediaStorageSOPClassUID),
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
            transfer_syntax_uid=str(meta.TransferSyntaxUID),
        )
    except InvalidDicomError as error:
        raise NotUnderstood(f"{path} is not a DICOM file") from error
    except (AttributeError, EOFError, OSError, ValueError) as error:
        raise NotUnderstood(f"{path} cannot be sent: {error}") from error


def readable(folder: Path) -> tuple[list[Parcel], list[str]]:
    """Return the DICOM files below a folder, and a sentence for every other file; ConfigError where there are none."""
    parcels: list[Parcel] = []
    others: list[str] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            parcels.append(parcel(path))
        except NotUnderstood as error:
            others.append(str(error))
    if not parcels:
        raise ConfigError(f"{folder} holds no DICOM files")
    return parcels, others


def send(
    parcels: Sequence[Parcel], address: Address, calling: str, *, seconds: float = 30
) -> Iterator[tuple[Parcel, Answer]]:
    """Send files and yield the answer to each; over one association, unless they need more contexts than one has."""
    left = iter(parcels)
    while group := list(islice(left, _room(parcels))):
        yield from zip(group, store(address, calling, group, seconds=seconds), strict=True)


def _room(parcels: Sequence[Parcel]) -> int:
    contexts = {(one.sop_class_uid, one.transfer_syntax_uid) for one in parcels}
    return len(parcels) if len(contexts) <= CONTEXTS else CONTEXTS
