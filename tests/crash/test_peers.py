"""Peers that refuse, hang, answer late, cut the line, send twice, late, or all at once; models that answer garbage."""

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from pynetdicom import evt

from tests.crash.harness import House, Pacs, study, study_uid
from tests.peers import wait_until

New = Callable[..., House]
PATIENCE_SECONDS = 4.0
"""How long the node waits for an answer of a PACS that gives none."""


def moody(pacs: Pacs, mood: str) -> Callable[[evt.Event], int]:
    """Behave badly to the first object, and well to those that follow."""
    met: list[str] = []

    def answer(event: evt.Event) -> int:
        if met:
            return 0
        met.append(mood)
        if mood == "hangs":
            pacs.ending.wait(2 * PATIENCE_SECONDS)
            return 0xA700
        if mood == "answers late":
            pacs.ending.wait(1.5 * PATIENCE_SECONDS)
        if mood == "cuts the line":
            event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        return {"is busy": 0xA700}.get(mood, 0)

    return answer


@pytest.mark.parametrize("mood", ["is busy", "hangs", "answers late", "cuts the line"])
def test_a_pacs_that_fails_an_object_gets_it_again(house: New, pacs: Pacs, tmp_path: Path, mood: str) -> None:
    node = house(patience=PATIENCE_SECONDS)
    files = study(tmp_path, mood)
    pacs.answer = moody(pacs, mood)
    node.start()
    assert not node.send(files)
    node.rest(study_uid(files))
    assert "object.postponed" in node.explain(study_uid(files))
    assert node.account(files, twice=mood in ("answers late", "cuts the line")) == []


def test_a_pacs_that_refuses_for_good_or_rejects_has_it_when_a_person_or_the_clock_says_so(
    house: New, pacs: Pacs, tmp_path: Path
) -> None:
    node = house()
    refused, rejected = study(tmp_path, "refused"), study(tmp_path, "rejected")
    pacs.answer = lambda event: 0xC000
    node.start()
    assert not node.send(refused)
    wait_until(lambda: node.explain(study_uid(refused)).count("object.parked") == 2, what="parked deliveries")
    assert "cannot understand (0xC000)" in node.explain(study_uid(refused))
    pacs.answer, pacs.rejects = lambda event: 0, True
    assert not node.send(rejected)
    wait_until(lambda: "object.postponed" in node.explain(study_uid(rejected)), what="a delivery that waits")
    pacs.rejects = False
    with node.ledger() as ledger:
        assert ledger.queries.requeue()["deliveries"] == 4  # two are parked, two wait
    node.rest(study_uid(refused), study_uid(rejected))
    assert [node.account(refused), node.account(rejected)] == [[], []]


def at_once(*calls: Callable[[], object]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_twenty_associations_twice_at_once_and_late_slices_are_all_whole_studies(house: New, tmp_path: Path) -> None:
    node = house(receivers=2)
    many = [study(tmp_path, f"many {number}", slices=4) for number in range(20)]
    twice, late = study(tmp_path, "twice", slices=8), study(tmp_path, "late", slices=8)
    node.start()
    left = list(many)

    def send(number: int) -> None:
        left[number] = node.send(left[number])

    at_once(*(lambda number=number: send(number) for number in range(20)))
    for number in range(20):  # a modality sends again what it has no answer to, as when it waited too long for one
        wait_until(lambda: not left[number] or send(number), what="the rest of a study")  # noqa: B023
    assert not node.send(late[:6])
    at_once(lambda: node.send(twice), lambda: node.send(twice))
    node.rest(study_uid(late))
    assert not node.send(late[6:])
    everyone: Sequence[list[Path]] = [*many, twice, late]
    wait_until(lambda: "study.revised" in node.explain(study_uid(late)), what="revision 2")
    node.rest(*map(study_uid, everyone))
    assert len(node.modality.acknowledged) == 20 * 4 + 8 + 8
    assert [node.account(files) for files in everyone] == [[]] * 22
    assert node.explain(study_uid(twice)).count("job.done") == 1


def test_garbage_from_a_model_is_parked_with_its_reason_and_never_sent(house: New, pacs: Pacs, tmp_path: Path) -> None:
    node = house()
    garbage = node.folder / "plugins" / "threshold" / "garbage"
    node.start()
    reasons = {
        "NaN": "finite number",
        "shape": "does not fit",
        "dtype": "whole numbers",
        "label": "labels run",
        "type": "bytes",
    }
    for kind, reason in reasons.items():
        garbage.write_text(kind)
        files = study(tmp_path, kind)
        assert not node.send(files)
        wait_until(lambda: "job.parked" in node.explain(study_uid(files)), what=f"a parked job for {kind}")  # noqa: B023
        assert reason in node.explain(study_uid(files))
    assert not pacs.arrived
    garbage.unlink()
    node.stop()  # a requeue from outside is seen when the step next looks: at the start, or within half a minute
    with node.ledger() as ledger:
        assert ledger.queries.requeue()["jobs"] == len(reasons)
    node.start()
    node.rest(
        *(study_uid([tmp_path / kind / name.name]) for kind in reasons for name in [next((tmp_path / kind).iterdir())])
    )


def test_a_triton_that_hangs_keeps_jobs_waiting_with_the_reason(house: New, tmp_path: Path) -> None:
    node = house()
    manifest = node.folder / "plugins" / "threshold" / "plugin.toml"
    manifest.write_text(manifest.read_text().replace('version = "1"', 'version = "1"\nmodels = ["threshold"]'))
    files = study(tmp_path, "hung")
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"127.0.0.1:{silent.getsockname()[1]}"
        with node.config.open("a") as config:
            config.write(f'[triton]\nurls = ["{url}"]\ndeadline_seconds = 2\n')
        node.start()
        assert not node.send(files)
        wait_until(lambda: "job.postponed" in node.explain(study_uid(files)), what="a job that waits")
        assert url in node.explain(study_uid(files))
    manifest.write_text(manifest.read_text().replace('\nmodels = ["threshold"]', ""))
    node.stop()
    node.start()
    node.rest(study_uid(files))
    assert node.account(files) == []
