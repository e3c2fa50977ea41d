"""A node takes in new routes, plugins and destinations while it runs, all together or, with a mistake, none."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.app import Node
from node.commands import reload
from node.commands.serve import serve
from node.commands.shutdown import shutdown_on_signals
from node.errors import ConfigError
from node.ledger import Ledger
from node.records import DeliveryState, Plan, ResultObject
from node.settings import Settings
from node.triton import Servers
from tests.peers import wait_until

SETTINGS = """\
plugins = ["plugins"]
[spool]
path = "spool"
free_mark_mb = 0
[ledger]
url = "sqlite:///ledger.db"
[triton]
urls = ["127.0.0.1:1"]
"""
MANIFEST = 'name = "{name}"\nversion = "1"\ntitle = "T"\nkind = "A"\n[series.ct]\nwhen.Modality = "CT"\n'
ROUTE = '[[route]]\nname = "{name}"\nwhen.Modality = "CT"\nplugins = ["{plugin}"]\nto = ["{to}"]\n'


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write the files of a node: a route, its plugin, and destinations."""

    def made(route: str = "every CT", plugin: str = "spleen", to: str = "PACS", more: str = "") -> Path:
        folder = tmp_path / "plugins" / plugin
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plugin.toml").write_text(MANIFEST.format(name=plugin))
        (folder / "plugin.py").write_text("def run(ct, triton):\n    return []\n")
        (tmp_path / "routes.toml").write_text(ROUTE.format(name=route, plugin=plugin, to=to))
        path = tmp_path / "isocenter.toml"
        path.write_text(f'{SETTINGS}{more}[destinations.{to}]\naddress = "{to}@127.0.0.1:1"\n')
        return path

    return made


@pytest.fixture
def node(write: Callable[..., Path]) -> Iterator[Node]:
    config = write()
    settings = Settings.read(config)
    built = Node(settings, ("deliver",), reread=lambda: Settings.read(config))
    with Servers(settings.triton, config.parent / "triton.log", needed=False) as servers:
        built.start(servers)
        yield built
        built.stop()


@pytest.fixture
def ledger(node: Node) -> Ledger:
    return node.ledger


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & {f"deliver to {to}-1" for to in ("PACS", "OTHER")}


def test_new_routes_plugins_and_destinations_are_taken_in(
    node: Node,
    write: Callable[..., Path],
    wanted: Callable[..., Plan],
    result: Callable[..., ResultObject],
    routed: Callable[..., int],
) -> None:
    routed(wanted())
    job = node.ledger.jobs.claim(lease_seconds=60)
    assert job is not None
    node.ledger.jobs.finish(job, [result()])
    config = write(route="chest", plugin="liver", to="OTHER")
    answers = reload.reload(Settings.read(config))
    assert [answer.good for answer in answers] == [True]
    assert "routes: chest; destinations: OTHER" in answers[0].sentence
    assert [route.name for route in node.routes.routes] == ["chest"]
    assert {"liver", "spleen"} <= set(node.routes.plugins)
    wait_until(lambda: names() == {"deliver to OTHER-1"}, what="the thread of the new destination alone")
    (stray,) = node.ledger.deliveries.of("1.2.1")
    assert (stray.state, "no longer configured" in stray.reason) == (DeliveryState.PARKED, True)


def test_a_mistake_changes_nothing_and_is_a_sentence(node: Node, write: Callable[..., Path], tmp_path: Path) -> None:
    before = node.routes
    config = write(route="chest", plugin="liver", to="OTHER")
    (tmp_path / "routes.toml").write_text(ROUTE.format(name="a", plugin="kidney", to="OTHER"))
    with pytest.raises(ConfigError, match="names the plugin 'kidney'"):
        reload.reload(Settings.read(config))
    assert "refused, nothing has changed" in node.reload()
    assert node.routes is before
    assert list(node.settings.destinations) == ["PACS"]
    assert names() == {"deliver to PACS-1"}
    assert "kidney" in node.ledger.events.read("")[-1][1].detail


def test_what_needs_a_start_is_named(node: Node, write: Callable[..., Path]) -> None:
    write(more="[engine]\nslots = 7\n")
    assert node.reload().endswith("changed, and read at the next start only: engine")


def test_without_a_node_nobody_answers(write: Callable[..., Path]) -> None:
    (answer,) = reload.reload(Settings.read(write()), seconds=0.1)
    assert (answer.good, "none runs on this ledger" in answer.sentence) == (False, True)


def test_a_node_reports_that_it_runs_until_it_stops(write: Callable[..., Path]) -> None:
    settings = Settings.read(write())
    former = f"{socket.gethostname()}:{2**22 + 1}"  # above the greatest process id
    node = Node(settings, ("deliver",))
    node.ledger.processes.report(former, roles="work", version="1", started_at=0, detail="")
    with Servers(settings.triton, settings.spool.path / "triton.log", needed=False) as servers:
        node.start(servers)
        own = f"{socket.gethostname()}:{os.getpid()}"
        wait_until(
            lambda: [process.name for process in node.ledger.processes.all()] == [own],
            what="its own report, and none of the process that was killed",
        )
        node.stop()
    ledger = Ledger(settings.ledger.url)
    assert ledger.processes.all() == []
    ledger.close()


def test_a_port_in_use_is_reported_before_triton_is_started(write: Callable[..., Path], tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = write(more=f'[receive]\naddress = "ISOCENTER@127.0.0.1:{other.getsockname()[1]}"\n')
        config.write_text(config.read_text().replace('urls = ["127.0.0.1:1"]', 'model_repository = "none"'))
        manifest = tmp_path / "plugins" / "spleen" / "plugin.toml"
        manifest.write_text(manifest.read_text().replace("[series.ct]", 'models = ["spleen"]\n[series.ct]'))
        with shutdown_on_signals() as shutdown, pytest.raises(ConfigError, match="the port is in use"):
            serve(config, ("receive", "work"), shutdown)
