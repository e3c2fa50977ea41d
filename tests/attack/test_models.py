"""A model that attacks whoever adds it: nothing is run, or nothing is reached, and the sentence names the remedy."""

import os
import re
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import pytest
import torch

from node.errors import ConfigError
from node.models import add
from node.models.network_file import with_weights
from node.models.nnunet_folder import load_checkpoint
from node.models.torchscript_operators import check_operators, is_allowed
from node.sandbox import landlock_version
from tests.edge_network import saved

LABELS = ["Spleen", "Liver"]


@pytest.fixture
def prey(tmp_path: Path) -> Path:
    """What an attack changes, where it succeeds."""
    (tmp_path / "prey").mkdir()
    return tmp_path / "prey" / "written"


@pytest.fixture
def added(tmp_path: Path) -> Callable[..., None]:
    """Adds a model into empty folders, which must be empty after a refusal."""
    models, plugins = tmp_path / "models", tmp_path / "plugins"
    models.mkdir()
    plugins.mkdir()

    def add_model(source: Path, **words: Any) -> None:
        try:
            add(source, "edges", models=models, plugins=plugins, labels=LABELS, **words)
        except ConfigError:
            assert not [*models.iterdir(), *plugins.iterdir()]
            raise

    return add_model


def writing_script(folder: Path, prey: Path, code: str = "torch.from_file({prey!r}, True, 4)") -> Path:
    """Return a TorchScript that writes a file when it is loaded: its source is put into a file that PyTorch made."""
    saved(folder, "TorchScript")
    call = code.format(prey=str(prey))
    source = folder / "attack.ts"
    with ZipFile(folder / "net.ts") as before, ZipFile(source, "w", ZIP_STORED) as after:
        for entry in before.infolist():
            content = before.read(entry)
            if b"def forward" in content:
                content = re.sub(
                    rb"(\n  def forward\(.*?-> Tensor:\n)", rb"\1    " + call.encode() + b"\n", content, flags=re.DOTALL
                )
            after.writestr(entry.filename, content)
    return source


def exported_with_command(folder: Path, prey: Path) -> Path:
    """Return a .pt2 with an expression of a shape that sympy evaluates as Python: a shell command."""
    saved(folder, "torch.export")
    attack = f"__import__('os').system('touch {prey}')"
    source, found = folder / "attack.pt2", 0
    with ZipFile(folder / "net.pt2") as before, ZipFile(source, "w", ZIP_STORED) as after:
        for entry in before.infolist():
            content = before.read(entry)
            if b'"expr_str"' in content:
                content, found = re.subn(rb'("expr_str": )"[^"]*"', rb'\1"' + attack.encode() + b'"', content)
            after.writestr(entry.filename, content)
    assert found
    return source


def test_an_exported_file_with_a_shell_command_is_not_loaded_without_trust(
    added: Callable[..., None], tmp_path: Path, prey: Path
) -> None:
    source = exported_with_command(tmp_path, prey)
    with pytest.raises(ConfigError, match=r"is torch.export, which can hold code .* say --trust"):
        added(source)
    assert not prey.exists()


def test_a_trusted_file_with_a_shell_command_reaches_nothing_beside_its_own_folder(
    added: Callable[..., None], tmp_path: Path, prey: Path
) -> None:
    if not landlock_version():
        pytest.skip("this kernel has no Landlock")
    source = exported_with_command(tmp_path, prey)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        added(source, trust=True)
    assert not prey.exists()
    with suppress(TypeError, ValueError, AttributeError, RuntimeError):
        torch.export.load(source)
    assert prey.exists(), "the attack does nothing at all"


@pytest.mark.parametrize(
    "code",
    [
        "torch.from_file({prey!r}, True, 4)",
        "{prey!r}.from_file(True, 4)",
        "getattr(torch, 'from_file')({prey!r}, True, 4)",
        "write = torch.from_file\n    write({prey!r}, True, 4)",
        "ops.aten.from_file({prey!r}, True, 4)",
    ],
)
def test_a_torchscript_that_writes_a_file_is_refused_by_the_operators_name(
    code: str, added: Callable[..., None], tmp_path: Path, prey: Path
) -> None:
    source = writing_script(tmp_path, prey, code)
    with pytest.raises(ConfigError, match=r"uses the operator (aten::)?from_file, which no network needs"):
        check_operators(source)
    assert not prey.exists()


@pytest.mark.parametrize(
    ("operator", "allowed"),
    [
        ("conv3d", True), ("relu_", True), ("prim::NumToTensor", True), ("encoder", True), ("quantized::linear", True),
        ("save", False), ("image::read_file", False), ("getattr", False), ("torchvision::nms", True),
    ],
)  # fmt: skip
def test_the_operators_of_networks_are_allowed_and_no_others(operator: str, *, allowed: bool) -> None:
    assert is_allowed(operator) is allowed


def test_the_script_of_a_bundle_is_judged_as_a_script_that_comes_alone(
    added: Callable[..., None], tmp_path: Path, prey: Path
) -> None:
    script = writing_script(tmp_path, prey)
    bundle = tmp_path / "bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    script.rename(bundle / "models" / "model.ts")
    (bundle / "configs" / "metadata.json").write_text("{}")
    (bundle / "configs" / "inference.json").write_text(
        '{"inferer": {"_target_": "SimpleInferer"}, "network_def": {"_target_": "UNet"}}'
    )
    with pytest.raises(ConfigError, match=r"model.ts is TorchScript, which can hold code .* say --trust"):
        added(bundle)
    with pytest.raises(ConfigError, match="uses the operator from_file"):
        added(bundle, trust=True)
    assert not prey.exists()


def test_trusted_code_has_no_network(added: Callable[..., None], tmp_path: Path) -> None:
    if not landlock_version() >= 4:
        pytest.skip("this kernel's Landlock does not know the network")
    weights, _ = saved(tmp_path, "state_dict")
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        code = f"import socket\nsocket.create_connection(('127.0.0.1', {other.getsockname()[1]}), timeout=10)\n"
        (tmp_path / "theirs.py").write_text(code)
        with pytest.raises(ConfigError, match=r"cannot be loaded: (PermissionError|OSError)"):
            added(weights, builder=f"{tmp_path / 'theirs.py'}:Theirs()", trust=True)


class Touching:
    """What pickle makes of this runs a command."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.file}",)


def test_a_checkpoint_that_is_a_pickle_of_code_is_not_unpickled(tmp_path: Path, prey: Path) -> None:
    torch.save({"network_weights": Touching(prey)}, tmp_path / "attack.pth")
    with pytest.raises(ConfigError, match="holds more than numbers and text, which is code: see --trust"):
        load_checkpoint(tmp_path / "attack.pth", trust=False)
    with pytest.raises(ConfigError, match="save the network's state_dict alone"):
        with_weights(torch.nn.Linear(1, 1), tmp_path / "attack.pth", (1, 1))
    assert not prey.exists()
