"""Weights come out of every form in which people save them, and no code of a file runs."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from node.errors import ConfigError
from node.models.checkpoint import fitted, weights_of


def small() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


class Whole(nn.Module):
    """A module of a class of its own, as training scripts pickle them whole."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (f"{os.environ['PYTEST_ATTACK']}",)


def renamed(before: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{before}{name}": value for name, value in weights.items()}


FORMS = {
    "plain": lambda network: network.state_dict(),
    "DataParallel": lambda network: renamed("module.", network.state_dict()),
    "Lightning": lambda network: {"epoch": 3, "state_dict": renamed("model.", network.state_dict())},
    "Lightning with the path of its data": lambda network: {
        "hyper_parameters": {"data": Path("data")},
        "state_dict": {**renamed("model.", network.state_dict()), "loss.weight": torch.ones(2)},
    },
    "averaged": lambda network: {
        "model": renamed("", {name: value * 0 for name, value in network.state_dict().items()}),
        "ema_state_dict": network.state_dict(),
    },
    "torch.compile in DataParallel": lambda network: renamed("module._orig_mod.", network.state_dict()),
    "a module pickled whole": lambda network: network,
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older than 1.6"])
@pytest.mark.parametrize("form", FORMS)
def test_weights_are_found_in_every_form(form: str, zipped: bool, tmp_path: Path) -> None:
    torch.save(FORMS[form](small()), tmp_path / "file.pth", _use_new_zipfile_serialization=zipped)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    given = torch.ones(1, 1, 4, 4)
    assert torch.equal(fitted(network, tmp_path / "file.pth")(given), small().eval()(given))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older than 1.6"])
def test_a_pickled_module_of_a_foreign_class_is_read_by_its_names(zipped: bool, tmp_path: Path) -> None:
    torch.save(Whole(), tmp_path / "whole.pt", _use_new_zipfile_serialization=zipped)
    found = weights_of(tmp_path / "whole.pt")
    assert found.keys() == Whole().state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in Whole().state_dict().items())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older than 1.6"])
def test_no_code_of_a_file_runs(zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ATTACK", str(tmp_path / "was here"))
    torch.save(
        {"attack": Attack(), "state_dict": small().state_dict()}, tmp_path / "file.pt",
        _use_new_zipfile_serialization=zipped,
    )  # fmt: skip
    fitted(small(), tmp_path / "file.pt")
    assert not (tmp_path / "was here").exists()


def test_safetensors_are_read(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    library.save_file(small().state_dict(), tmp_path / "file.safetensors")
    assert weights_of(tmp_path / "file.safetensors").keys() == small().state_dict().keys()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no weights at all", "cannot be read|is no file of weights"),
        (b"", "cannot be read"),
        ({"epoch": 3}, "no weights by name: save the network's state_dict"),
        ({"conv.weight": torch.zeros(2)}, "does not fit Sequential"),
    ],
)
def test_what_is_no_such_file_is_refused_with_what_to_do(content: Any, said: str, tmp_path: Path) -> None:
    if isinstance(content, bytes):
        (tmp_path / "file.pt").write_bytes(content)
    else:
        torch.save(content, tmp_path / "file.pt")
    with pytest.raises(ConfigError, match=said):
        fitted(small(), tmp_path / "file.pt")
