"""One object that cannot be composed or written costs no other object of its job, and the story says which it was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from node.compose import Case, compose_job
from node.compose.composers import KINDS
from node.errors import BrokenResult, SpoolFull
from node.profiles import PROFILES
from node.records import Job, JobState
from node.testing import ct_series
from tests.matrix import identity_of, results_of, series_in

JOB = Job(
    id=1, study_uid="1.2", revision=1, plugin="p", version="1", route="r", inputs=(), destinations=("PACS",),
    state=JobState.RUNNING, attempts=1, planned_at=0.0, ordinal=0, worker="", reason="",
)  # fmt: skip


@dataclass
class Written:
    """A spool that keeps nothing."""

    path: Path
    names: list[str] = field(default_factory=list)

    @property
    def objects(self) -> Path:
        return self.path / "objects"

    def keep(self, study_uid: str, name: str, content: Any) -> str:
        self.names.append(name)
        return name


def composed(tmp_path: Path, spool: Written) -> Any:
    series = series_in(tmp_path / "images", ct_series(slices=3))
    runs = [({"image": series}, results_of({"image": series}))]

    def identity(**_choice: object) -> Any:
        return identity_of(series)

    return compose_job({"PACS": PROFILES["orthanc"]}, JOB, identity, spool, (), runs)  # type: ignore[arg-type]


def failing(error: Exception) -> Any:
    def compose(case: Case, made: Sequence[Dataset]) -> Iterator[Dataset]:
        raise error

    return compose


def test_an_object_that_cannot_be_composed_is_reported_and_the_others_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "SEG", failing(ValueError("could not convert string to float: '40,0'")))  # type: ignore[attr-defined]
    objects, recipients, remarks = composed(tmp_path, Written(tmp_path))
    assert "SR" in {one.kind for one in objects}
    assert set(recipients) == {one.sop_instance_uid for one in objects}
    assert any("SEG could not be made of the images" in remark and "'40,0'" in remark for remark in remarks)


def test_a_job_of_which_no_object_can_be_made_is_parked_with_the_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in KINDS:
        monkeypatch.setitem(KINDS, kind, failing(ValueError("odd")))  # type: ignore[attr-defined]
    with pytest.raises(BrokenResult, match="SR could not be made of the images: ValueError: odd"):
        composed(tmp_path, Written(tmp_path))


@pytest.mark.parametrize("error", [BrokenResult("labels on no grid"), SpoolFull("no space")])
def test_broken_results_and_a_full_spool_stop_the_whole_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setitem(KINDS, "SEG", failing(error))  # type: ignore[attr-defined]
    with pytest.raises(type(error)):
        composed(tmp_path, Written(tmp_path))
