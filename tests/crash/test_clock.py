"""The clock of a node is set back by a day while a destination is away."""

from collections.abc import Callable
from pathlib import Path

from tests.crash.harness import House, Pacs, study, study_uid
from tests.peers import wait_until
from tests.processes import start_text

DAY = 86400
SERVE = """\
import time
from pathlib import Path

from node.assemble import settle
from node.cli import app
from node.clock import ClockWatch
from node.deliver import Outbox
from node.ledger import Ledger
from node.ledger.database import Database

real = time.time


def clock():
    return real() + float(Path({ahead!r}).read_text())


for function in (settle, ClockWatch.__init__, Outbox.__init__, Ledger.__init__, Database.__init__):
    function.__defaults__ = tuple(clock if value is real else value for value in function.__defaults__ or ())
    function.__kwdefaults__ = {{
        name: clock if value is real else value for name, value in (function.__kwdefaults__ or {{}}).items()
    }}
app(["serve", "--config", {config!r}])
"""


def test_what_waits_for_a_destination_is_sent_although_the_clock_is_set_back(
    house: Callable[..., House], pacs: Pacs, tmp_path: Path
) -> None:
    node, files, ahead = house(), study(tmp_path, "yesterday"), tmp_path / "ahead"
    ahead.write_text(str(DAY))
    pacs.rejects = True
    program = SERVE.format(ahead=str(ahead), config=str(node.config))
    node.process = start_text(program, node.folder / "serve.log")
    node.wait_until_it_listens()
    assert not node.send(files)
    wait_until(lambda: "object.postponed" in node.explain(study_uid(files)), what="a delivery that waits")
    ahead.write_text("0")
    pacs.rejects = False
    node.rest(study_uid(files))
    assert node.account(files) == []
    assert "clock.set" in node.log
