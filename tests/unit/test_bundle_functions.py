"""What a bundle writes as Python is compared with what is known, and never run."""

from pathlib import Path

import pytest

from node.errors import ConfigError
from node.models.bundle_config import Configuration
from node.models.monai_transforms import AFTER, Read, finished, read_all
from node.models.network_file import built

ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True, "to_onehot": 2}


def chain_after(*transforms: dict[str, object]) -> dict[str, object]:
    read = Read(planar=False)
    read_all(transforms, AFTER, read, ["pred"])
    return finished(read)


def test_a_function_that_drops_the_background_changes_nothing() -> None:
    dropping = {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x : x[1:]"}
    assert chain_after(ARGMAX, dropping) == chain_after(ARGMAX)


@pytest.mark.parametrize("func", ["$lambda x: x[2:]", "$lambda x: open('/tmp/x', 'w')", "$lambda x: y[1:]", "x[1:]"])
def test_any_other_function_is_named_as_code(func: str) -> None:
    with pytest.raises(ValueError, match=r"Lambda .* is code, which is not run"):
        chain_after(ARGMAX, {"_target_": "Lambdad", "keys": "pred", "func": func})


def test_savers_and_converters_change_nothing() -> None:
    extra = [{"_target_": name, "keys": "pred"} for name in ("ToNumpyd", "SaveClassificationd", "EnsureTyped")]
    assert chain_after(ARGMAX, *extra) == chain_after(ARGMAX)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$monai.utils.CommonKeys.IMAGE", "monai.utils.CommonKeys.IMAGE"),
        ("$monai.data.PILReader", "monai.data.PILReader"),
        ("$np.pi / 2", 1.5707963267948966),
        ("$lambda x: x", "$lambda x: x"),
    ],
)
def test_names_and_constants_are_values(text: str, value: object) -> None:
    assert Configuration(Path("inference.json"), {"it": text}).get("it") == value


def test_an_argument_without_effect_that_newer_versions_dropped_is_left_out() -> None:
    pytest.importorskip("monai", reason="MONAI is not installed")
    words = {"img_size": [32, 32, 32], "in_channels": 1, "out_channels": 2, "feature_size": 12}
    assert built("monai.networks.nets.SwinUNETR", words)
    with pytest.raises(ConfigError, match="no_such"):
        built("monai.networks.nets.SwinUNETR", {**words, "no_such": 1})
