"""The files for containers and Kubernetes name settings that exist, and the version that this is."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from node.app import load_routes
from node.commands.init import configuration
from node.settings import Settings
from tests.peers import ROOT

KUBERNETES = ROOT / "config" / "kubernetes"
CONTAINERS = ROOT / "config" / "containers"
OBJECTS: list[dict[str, Any]] = [
    found for file in sorted(KUBERNETES.glob("*.yaml")) for found in yaml.safe_load_all(file.read_text())
]


def test_the_configuration_on_kubernetes_can_be_served(tmp_path: Path) -> None:
    (config,) = (found["data"] for found in OBJECTS if found["kind"] == "ConfigMap")
    (tmp_path / "config").mkdir()
    (tmp_path / "plugins").mkdir()
    for name, text in config.items():
        (tmp_path / "config" / name).write_text(text)
    settings = Settings.read(tmp_path / "config" / "isocenter.toml")
    assert load_routes(settings).models
    pods = {
        found["metadata"]["name"]: found["spec"]["template"]["spec"]
        for found in OBJECTS
        if "template" in found.get("spec", {})
    }
    assert pods["work"]["terminationGracePeriodSeconds"] >= settings.engine.stop_seconds + 30
    assert [pods[role]["containers"][0]["args"] for role in ("receive", "work", "deliver")] == [
        ["receive"],
        ["work"],
        ["deliver"],
    ]
    images = {container["image"] for pod in pods.values() for container in pod["containers"]}
    assert {image.rpartition(":")[2] for image in images} == {version("isocenter")}


def test_compose_sets_keys_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compose = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())
    for name, value in compose["services"]["node"]["environment"].items():
        monkeypatch.setenv(name, value)
    (tmp_path / "isocenter.toml").write_text(configuration(""))
    settings = Settings.read(tmp_path / "isocenter.toml")
    assert settings.triton.urls == ("triton:8001",)
    assert str(settings.destinations["PACS"].address) == "ORTHANC@orthanc:4242"


def test_the_containers_have_the_pytorch_that_the_wheel_needs() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (torch,) = (line.partition("==")[2] for line in needed if line.startswith("torch=="))
    for file in ("Containerfile", "Containerfile.triton"):
        assert re.findall(r"^ARG TORCH=(.+)$", (CONTAINERS / file).read_text(), re.MULTILINE) == [torch]
