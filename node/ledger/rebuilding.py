"""What a ledger that was rebuilt from the packs, or lost its newest rows, knows of studies, and what it cannot know."""

from collections.abc import Iterable

from sqlalchemy import exists, func, select, update

from node.ledger.database import LOOKUP, LedgerPart, groups
from node.ledger.instances import FETCHED
from node.ledger.schema import instance, job, node, study
from node.records import StudyState

ANALYSED = (
    "the ledger has lost what it knew of this study, which had results: which of them were delivered is not known. "
    "isocenter requeue --study {study_uid} analyses it again"
)


class Rebuilding(LedgerPart):
    """Changes to a ledger into which packs were just read."""

    def count_instances(self) -> int:
        """Return how many instances the ledger knows."""
        with self.db.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(instance)).scalar_one())

    def name_node(self, device_uid: str) -> None:
        """Give the node back the UID that it had: the UIDs of its objects are derived from it."""
        with self.db.writing() as connection:
            connection.execute(update(node).values(device_uid=device_uid))

    def park_analysed(self, study_uids: Iterable[str]) -> int:
        """Park studies that had results and of which no job is known, so that nothing is sent again unasked.

        `study_uids` are those whose results lie in the spool. Returns how many were parked.
        """
        parked = 0
        with self.db.writing() as connection:
            for some in groups(study_uids, LOOKUP):
                found = select(study.c.study_uid).where(
                    study.c.study_uid.in_(some),
                    study.c.state == StudyState.RECEIVING,
                    ~exists().where(job.c.study_uid == study.c.study_uid),
                )
                for uid in connection.execute(found.order_by(study.c.study_uid)).scalars().all():
                    reason = ANALYSED.format(study_uid=uid)
                    values = {"state": StudyState.PARKED, "because": reason}
                    connection.execute(update(study).where(study.c.study_uid == uid).values(values))
                    self.db.add_event(connection, uid, "study.parked", reason)
                    parked += 1
        return parked

    def keep_priors(self, ae_title: str) -> int:
        """Keep studies that came only because this node asked for them as priors; return how many there are."""
        sent = exists().where(instance.c.study_uid == study.c.study_uid, instance.c.originator != ae_title)
        which = (study.c.state == StudyState.RECEIVING, ~sent)
        with self.db.writing() as connection:
            values = {"state": StudyState.PRIOR, "because": FETCHED}
            return connection.execute(update(study).where(*which).values(values)).rowcount
