"""A sender that remembers what was acknowledged, and calls again."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.association import Association

CALL_AGAIN_SECONDS = (0.2, 1.0, 0.0)
"""How long a modality rests after each call in vain; fewer than its maker's, which last for days."""


def body(content: bytes) -> bytes:
    """Return the data set of a Part 10 file, without its File Meta Information (PS3.10 section 7.1)."""
    return content[144 + int.from_bytes(content[140:144], "little") :]


def study_uid(files: Sequence[Path]) -> str:
    return str(dcmread(files[0], specific_tags=["StudyInstanceUID"]).StudyInstanceUID)


@dataclass
class Modality:
    """A sender that remembers which instances got Success, and calls again when it could not get an association.

    `sent` has the instances by study.
    """

    acknowledged: dict[str, bytes] = field(default_factory=dict)
    sent: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    statuses: Counter[int] = field(default_factory=Counter)

    def send(self, port: int, files: Sequence[Path], answered: Callable[[], None] = lambda: None) -> list[Path]:
        """Send files over one association, until it breaks; call at each Success, and return those without one."""
        entity = AE("CT1")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        for sop_class in {dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID for path in files}:
            entity.add_requested_context(sop_class, "1.2.840.10008.1.2.1")
        for rest in CALL_AGAIN_SECONDS:
            association = entity.associate("127.0.0.1", port, ae_title="ISOCENTER")
            if association.is_established:
                break
            time.sleep(rest)
        left = list(files)
        for path in files:
            status = self._store(association, path) if association.is_established else None
            if status is None:  # it may still call itself established, and would wait for nothing
                break
            self.statuses[status] += 1
            if status == 0:
                self.acknowledged[path.stem] = body(path.read_bytes())
                self.sent[study_uid([path])].add(path.stem)
                left.remove(path)
                answered()
        if association.is_established:
            association.release()
        return left

    @staticmethod
    def _store(association: Association, path: Path) -> int | None:
        try:
            return association.send_c_store(path).get("Status")
        except RuntimeError:
            return None
