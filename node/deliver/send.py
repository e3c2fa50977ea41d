"""Send DICOM files to any Storage SCP, as `isocenter send` does: files, folders, a DICOMDIR, a ZIP."""

import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from node.deliver.storescu import MOST_CONTEXTS, OutgoingObject, StoreResult, store
from node.errors import ConfigError, NodeError, NotUnderstood
from node.images.part10 import FAULTS
from node.records import Address

DICOMDIR = "DICOMDIR"


@dataclass(frozen=True, slots=True)
class Found:
    """The DICOM files of a source, with a sentence for every other file.

    Parameters
    ----------
    passed_over
        Files in a folder that are no DICOM files.
    missing
        What belongs to it and cannot be sent: a file that a DICOMDIR names and that is not there, a damaged file.
    """

    objects: tuple[OutgoingObject, ...]
    passed_over: tuple[str, ...]
    missing: tuple[str, ...]


SOP_INSTANCE_UID = 0x00080018
GRACE_SECONDS = 3.0
"""How long Ctrl-C waits for the responses to the instances that are being sent."""


class NoDicomFile(NotUnderstood):
    """A file of something else, such as a note beside images."""


def outgoing_file(path: Path) -> OutgoingObject:
    """Return a DICOM file as an object to send, by the UIDs in its data set; NotUnderstood where it is none.

    The File Meta Information, which another program may have written, says only how the data set is encoded.
    """
    try:
        with path.open("rb") as file:
            found = read_partial(file, stop_when=_after_uids)
        outgoing = OutgoingObject(
            path=path,
            sop_class_uid=str(found.get("SOPClassUID") or ""),
            sop_instance_uid=str(found.get("SOPInstanceUID") or ""),
            transfer_syntax_uid=str(found.file_meta.get("TransferSyntaxUID") or ""),
        )
    except InvalidDicomError as error:
        raise NoDicomFile(f"{path} is not a DICOM file") from error
    except FileNotFoundError as error:
        raise NotUnderstood(f"{path} is not there") from error
    except FAULTS as error:
        raise NotUnderstood(f"{path} cannot be read: {error}") from error
    if not (outgoing.sop_class_uid and outgoing.sop_instance_uid and outgoing.transfer_syntax_uid):
        raise NotUnderstood(f"{path} cannot be sent: it has no SOP Class UID, SOP Instance UID or Transfer Syntax UID")
    return outgoing


def _after_uids(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > SOP_INSTANCE_UID


def readable(source: Path) -> Found:
    """Return the DICOM files of a file, a folder or a DICOMDIR, and a sentence for every other file.

    Raises
    ------
    ConfigError
        There is no such file or folder, or it holds no DICOM files.
    """
    objects: list[OutgoingObject] = []
    passed_over: list[str] = []
    missing: list[str] = []
    for path in _files(source):
        if source.name == DICOMDIR and not path.resolve().is_relative_to(source.parent.resolve()):
            missing.append(f"{source} names {path}, which lies outside its folder (PS3.10 section 8)")
            continue
        try:
            objects.append(outgoing_file(path))
        except NoDicomFile as error:
            (missing if source.name == DICOMDIR else passed_over).append(str(error))
        except NotUnderstood as error:
            missing.append(str(error))
    if not objects:
        why = [*missing, *passed_over][:1] if source.is_file() else []
        raise ConfigError(": ".join([f"{source} holds no DICOM files", *why]))
    return Found(tuple(objects), tuple(passed_over), tuple(missing))


def _files(source: Path) -> list[Path]:
    if not source.exists():
        raise ConfigError(f"{source}: there is no such file or folder")
    if source.is_dir():
        return sorted(path for path in source.rglob("*") if path.is_file() and path.name != DICOMDIR)
    return _referenced(source) if source.name == DICOMDIR else [source]


def _referenced(directory: Path) -> list[Path]:
    """Return the files that a DICOMDIR names (PS3.3 F.3); ConfigError where it cannot be read."""
    try:
        records = dcmread(directory).DirectoryRecordSequence
    except (AttributeError, EOFError, InvalidDicomError, OSError, ValueError) as error:
        raise ConfigError(f"{directory} is no DICOMDIR: {error}") from error
    names = [record.ReferencedFileID for record in records if record.get("ReferencedFileID")]
    return [directory.parent.joinpath(*([name] if isinstance(name, str) else name)) for name in names]


@contextmanager
def unpacked(sources: Sequence[Path]) -> Iterator[list[Path]]:
    """In the context, each ZIP file is replaced by a folder with its files; ConfigError where it is damaged."""
    with tempfile.TemporaryDirectory(prefix="isocenter-send-") as scratch:
        found: list[Path] = []
        for number, source in enumerate(sources):
            if not zipfile.is_zipfile(source):
                found.append(source)
                continue
            folder = Path(scratch, str(number))
            try:
                with zipfile.ZipFile(source) as archive:
                    _check_size(archive, source, shutil.disk_usage(scratch).free)
                    archive.extractall(folder)
            except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
                raise ConfigError(f"{source} cannot be unpacked: {error}") from error
            inner = folder / DICOMDIR
            found.append(inner if inner.is_file() else folder)
        yield found


def _check_size(archive: zipfile.ZipFile, source: Path, free: int) -> None:
    """Raise ConfigError where the files of a ZIP would take more than half of the free bytes of the disk.

    `zipfile` never writes more of a file than the size that the archive states.
    """
    size = sum(member.file_size for member in archive.infolist())
    if size > free // 2:
        raise ConfigError(
            f"{source} would take {size} bytes unpacked, more than half of the free space in {tempfile.gettempdir()}; "
            "unpack it elsewhere and name the folder, or set TMPDIR to a larger disk"
        )


def send_at_once(
    objects: Sequence[OutgoingObject], address: Address, calling: str, *, associations: int, rate: float | None = None
) -> Iterator[tuple[OutgoingObject, StoreResult]]:
    """Send files over several associations at the same time, and yield the result of each as it comes.

    `rate` is how many are sent in a second at most, by all associations together.
    """
    pace = Pace(rate).wait if rate else lambda: True
    stopped = threading.Event()
    shares = [share for number in range(associations) if (share := objects[number::associations])]
    results: SimpleQueue[tuple[OutgoingObject, StoreResult] | None] = SimpleQueue()
    failures: list[NodeError] = []

    def work(share: Sequence[OutgoingObject]) -> None:
        try:
            for result in send(share, address, calling, go_on=lambda: not stopped.is_set() and pace()):
                results.put(result)
        except NodeError as error:
            failures.append(error)
        finally:
            results.put(None)

    threads = [threading.Thread(target=work, args=(share,), daemon=True) for share in shares]
    for thread in threads:
        thread.start()
    try:
        for _ in shares:
            yield from iter(results.get, None)
    finally:
        stopped.set()  # at Ctrl-C, an association ends with the instance that it sends; a peer may never answer
        until = time.monotonic() + GRACE_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
    for failure in failures:
        raise failure


class Pace:
    """Lets so many callers in a second pass, in whatever thread."""

    def __init__(
        self, rate: float, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._every, self._clock, self._sleep = 1 / rate, clock, sleep
        self._next = clock()
        self._lock = threading.Lock()

    def wait(self) -> bool:
        """Return True when the caller may pass."""
        with self._lock:
            now = self._clock()
            due = max(self._next, now)
            self._next = due + self._every
        if due > now:
            self._sleep(due - now)
        return True


def send(
    objects: Sequence[OutgoingObject],
    address: Address,
    calling: str,
    *,
    seconds: float = 30,
    go_on: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[OutgoingObject, StoreResult]]:
    """Send files and yield the result of each; over one association, or more where they need too many contexts."""
    left = iter(objects)
    while group := list(islice(left, _group_size(objects))):
        yield from zip(group, store(address, calling, group, seconds=seconds, go_on=go_on), strict=True)


def _group_size(objects: Sequence[OutgoingObject]) -> int:
    contexts = {(outgoing.sop_class_uid, outgoing.transfer_syntax_uid) for outgoing in objects}
    return len(objects) if len(contexts) <= MOST_CONTEXTS else MOST_CONTEXTS
