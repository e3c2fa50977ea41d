"""How other systems are known to lose acknowledged images, and the test that shows that this node does not:

* the disk is full while a series is moved: the rest is deleted, the cut series is analysed – `test_disk_and_ledger`:
  full or read-only disk, a write that fails
* a rule names a target that was deleted – `test_disk_and_ledger`: what waits for a rule or a destination that is gone
* a lock file is left by a process that died, or held by a second router – `test_kill_points`, `test_lease`: leases run
  out; `contract/test_ledger_processes`: several at once
* a slice arrives between the look at a folder and its deletion – `test_peers`: late slices;
  `contract/test_retention`: an instance that comes during a purge
* the description beside an image is missing after a crash – `test_kill_points`: `receive.rows.due`,
  `pack.append.synced`; `unit/test_spool`: rows are read back from packs
* a move fails half-way and the originals are deleted – `test_kill_points`: every point between stable and plan;
  nothing is ever moved
* two routers work on one study – `contract/test_ledger_processes`
* nothing recovers after a crash: locks, half-done work, files nobody looks at – `test_kill_points`, `test_many_kills`
* the router dies of an I/O error with exit status 0 – here: the spool goes away; `test_disk_and_ledger`: packs that
  are away
* a failed delivery cannot be sent again – `test_peers`: a PACS that refuses for good, and `requeue`
* a rule or plugin is renamed or deleted: its queued jobs are stranded – here
* an odd character set stops an image, or loops – here
* an image that cannot be read is left out unseen, and the rest is analysed – `flow/test_receive_refusals`: refusals are
  rows;
  `unit/test_stacks`: set aside with a reason
* a study sent twice is there twice – `test_peers`: twice at once
* one slow PACS blocks all others – `flow/deliver/test_outbox`
* a model that hangs blocks everything for ever – `unit/test_engine`: time limits; `test_peers`: a Triton that hangs;
  `test_stop`
* files are written in place and cut short by a crash – `test_kill_points`: `pack.append.torn`, `spool.keep.written`
* received data are deleted at the start – `test_kill_points`: every restart
* an export that fails holds up the queue in a loop – `test_peers`: a PACS that fails an object; `test_network_loss`
* the engine dies and its work waits for ever – `test_lease`, `test_postgres`
* results are double after a retry – `test_kill_points`, `test_many_kills`: derived UIDs, the same bytes
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.crash.harness import House, Pacs, study, study_uid
from tests.peers import wait_until

New = Callable[..., House]

SETS = {
    "unknown": b"ISO_IR 999",
    "private": b"KLINGON 42",
    "without-default": b"\\ISO_IR 77",
    "misspelt": b"ISO IR 100",
    "wrong": b"ISO_IR 192",
    "cut-short": b"ISO 2022 I",
}
"""What stands in Specific Character Set (0008,0005) where ISO_IR 100 should; the name is Latin-1 in each."""


def in_set(files: Sequence[Path], value: bytes) -> None:
    for path in files:
        content = path.read_bytes()
        assert content.count(b"CS\x0a\0ISO_IR 100") == 1
        path.write_bytes(content.replace(b"CS\x0a\0ISO_IR 100", b"CS\x0a\0" + value[:10]))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_odd_character_set_stops_no_study(house: New, tmp_path: Path) -> None:
    node = house()
    studies = []
    for name, value in SETS.items():
        files = study(tmp_path, name, character_set="ISO_IR 100", patient_name="MÜLLER^JOSÉ")
        in_set(files, value)
        studies.append(files)
    node.start()
    assert [node.send(files) for files in studies] == [[]] * len(studies)
    node.rest(*map(study_uid, studies))
    assert [node.account(files) for files in studies] == [[]] * len(studies)


def test_a_new_destination_that_is_down_at_the_start_stops_nothing(house: New, tmp_path: Path) -> None:
    pacs = Pacs()
    node = house(pacs=pacs)
    files = study(tmp_path, "new-pacs")
    node.start()
    assert not node.send(files)
    wait_until(lambda: "mend destinations.PACS.address" in node.log, what="a line in the log")
    with pacs.listening():
        node.rest(study_uid(files))
        assert not node.account(files)
        node.stop()


def rename(node: House, old: str, new: str) -> None:
    """Rename the plugin, and with it what the route asks for."""
    folder = node.folder / "plugins"
    (folder / old).rename(folder / new)
    for file in (folder / new / "plugin.toml", node.folder / "routes.toml"):
        file.write_text(file.read_text().replace(f'"{old}"', f'"{new}"'))


def test_a_route_and_a_plugin_that_are_renamed_strand_no_job(house: New, tmp_path: Path) -> None:
    node = house()
    files = study(tmp_path, "stranded")
    node.start(FAULT_AT="route.planned")
    assert not node.send(files)
    node.wait_for_death()
    routes = node.folder / "routes.toml"
    routes.write_text(routes.read_text().replace("every CT", "each CT"))
    rename(node, "threshold", "limit")
    node.start()
    wait_until(lambda: "job.parked" in node.explain(study_uid(files)), what="a reason for what is stranded")
    assert "but no version is here; put the plugin back and requeue" in node.explain(study_uid(files))
    node.stop()
    rename(node, "limit", "threshold")
    with node.ledger() as ledger:
        assert ledger.queries.requeue()["jobs"] == 1
    node.start()
    node.rest(study_uid(files))
    assert node.account(files) == []


def test_a_spool_that_goes_away_before_a_study_is_read_is_waited_for(house: New, tmp_path: Path) -> None:
    node = house(quiet=3.0)
    files, packs = study(tmp_path, "away"), node.folder / "spool" / "packs"
    node.start()
    wait_until(lambda: "node.started" in node.log, what="the node's start")
    assert not node.send(files)
    packs.rename(packs.with_name("elsewhere"))
    wait_until(lambda: "is not there; bring it back" in node.log, what="a study that cannot be read just now")
    packs.with_name("elsewhere").rename(packs)
    node.rest(study_uid(files))
    assert "parked" not in node.explain(study_uid(files))
    assert "lost" not in node.explain(study_uid(files))
    assert node.account(files) == []
