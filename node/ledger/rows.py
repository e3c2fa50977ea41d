"""Rows of the tables as the records they are, and records as rows."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy.engine import RowMapping

from node.errors import LedgerRefused
from node.ledger.schema import instance
from node.ledger.text_columns import String
from node.records import (
    Arrival,
    Delivery,
    DeliveryState,
    Instance,
    Job,
    JobState,
    Place,
    Refusal,
    ResultObject,
    Study,
    StudyState,
)

Record = TypeVar("Record")
Key = tuple[str, str]
"""Key of an instance: SOP Instance UID and Study Instance UID."""
UID_LENGTH = 64
LENGTHS = {
    column.name: column.type.length for column in instance.c if isinstance(column.type, String) and column.type.length
}
"""The columns of an instance that are bounded, with their number of characters."""


def from_row(kind: type[Record], row: Mapping[Any, Any]) -> Record:
    """Return a row as a record whose fields are columns of the same names."""
    return kind(**{name: row[name] for name in kind.__dataclass_fields__})  # type: ignore[attr-defined]


def _row(record: Instance | Place) -> dict[str, Any]:
    """Return a record as a row of columns of the same names; `asdict` copies each value, in ten times the time."""
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def instance_row(arrival: Arrival) -> dict[str, Any]:
    """Return the row of an instance that is in its pack; LedgerRefused where a word does not fit its column.

    Checked here and not by the database, because SQLite accepts any length.
    """
    row = _row(arrival.instance) | _row(arrival.place) | {"lost": False}
    for name, length in LENGTHS.items():
        if not isinstance(row[name], str):
            raise LedgerRefused(f"the instance has no {name}")
        if len(row[name]) > length:
            raise LedgerRefused(f"{name} has {len(row[name])} characters, {length} at most")
    return row


def key_of(row: Mapping[Any, Any]) -> Key:
    """Return the key of an instance from its row."""
    return row["sop_instance_uid"], row["study_uid"]


def refusal_row(refused: Refusal) -> dict[str, Any]:
    """Return the row of a refused instance, whatever its words are: cut where they would not fit."""
    row = asdict(refused)
    cut = {"study_uid": UID_LENGTH, "calling": LENGTHS["calling"]}
    return row | {name: str(row[name] or "")[: cut.get(name)] for name in row if name not in ("at", "came_at")}


def to_instance(row: RowMapping) -> Instance:
    """Return an instance from its row."""
    return from_row(Instance, row)


def to_place(row: RowMapping) -> Place:
    """Return where an instance lies, from its row."""
    return from_row(Place, row)


def to_study(row: RowMapping) -> Study:
    """Return a study from its row."""
    return from_row(Study, {**row, "state": StudyState(row["state"])})


def to_job(row: RowMapping) -> Job:
    """Return a job from its row."""
    lists = {"inputs": tuple(row["inputs"]), "destinations": tuple(row["destinations"])}
    return from_row(Job, {**row, **lists, "state": JobState(row["state"])})


def to_object(row: RowMapping) -> ResultObject:
    """Return a result object from its row."""
    return from_row(ResultObject, row)


def to_delivery(row: RowMapping) -> Delivery:
    """Return a delivery from its row, joined with that of its object."""
    return from_row(Delivery, {**row, "object": to_object(row), "state": DeliveryState(row["state"])})
