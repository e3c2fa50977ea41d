"""Another user of the machine looks for images and names while a node works, and finds none."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import testing
from tests.crash.harness import Pacs
from tests.peers import serve, storescu, wait_until

NOBODY = 65534
WORLD_READABLE_FOLDER = 0o755
USUAL_UMASK = 0o022

LOOK = 'while true; do find "$@" -type f -readable 2>/dev/null; sleep 0.05; done'
"""Prints each file in some folders that this user can read, again and again."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that all users may look into; those of pytest are closed to them."""
    umask = os.umask(USUAL_UMASK)
    with tempfile.TemporaryDirectory(prefix="isocenter-attack-") as name:
        Path(name).chmod(WORLD_READABLE_FOLDER)
        yield Path(name)
    os.umask(umask)


def test_another_user_reads_nothing_of_a_node_at_work(folder: Path, tmp_path: Path) -> None:
    images = testing.write(testing.chest_ct(slices=40, rows=128), tmp_path / "images")
    canary = folder / "canary"
    canary.write_text("the other user can read here")
    with Pacs().listening() as pacs, serve(folder / "node", pacs=f"PACS@127.0.0.1:{pacs.port}", fresh=True) as node:
        with (tmp_path / "seen").open("wb") as seen:
            spy = subprocess.Popen(
                ["/bin/sh", "-c", LOOK, "look", str(folder), "/dev/shm"],  # noqa: S108
                stdout=seen, user=NOBODY, group=NOBODY, extra_groups=[], start_new_session=True,
            )  # fmt: skip
        try:
            sent = storescu(node.port, images)
            assert sent.returncode == 0, sent.stdout + sent.stderr
            wait_until(lambda: len(pacs.arrived) >= 2, seconds=180, what="the results in the PACS")
        finally:
            os.killpg(spy.pid, signal.SIGKILL)
            spy.wait()
        found = {Path(line) for line in (tmp_path / "seen").read_text().splitlines()}
        assert canary in found
        written_by_test = {canary, *(folder / "node").glob("*.toml"), folder / "node" / "serve.log"}
        foreign = {path for path in found if folder not in path.parents and not path.name.startswith("isocenter")}
        assert found - foreign <= written_by_test
        assert (folder / "node/ledger.db").exists()
        assert any((folder / "node/spool").rglob("*.*"))
