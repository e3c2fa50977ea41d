"""A guard says whether images are what a plugin is for, before the plugin is called."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node import NotSuitable, Series, testing
from node.errors import ConfigError, ModelRefused
from node.host import read_plugin
from node.infer.guards import hints, planes_for, volume_for
from node.infer.run import run
from node.triton.fake import FakeTriton

RUN = (
    "from node import NotSuitable\ndef run({roles}, triton):\n    return NotSuitable(f'run was called with {shown}')\n"
)
Make = Callable[..., Path]


@pytest.fixture
def plugin(tmp_path: Path) -> Make:
    def made(**roles: str) -> Path:
        folder = tmp_path / "looker"
        folder.mkdir()
        tables = "".join(f"[series.{name}]\n{text}\n" for name, text in roles.items())
        (folder / "plugin.toml").write_text(
            f'name = "looker"\nversion = "1"\ntitle = "Looker"\nkind = "A"\nmodels = ["looker"]\n{tables}'
        )
        shown = " ".join(f"{{{name} is not None}}" for name in roles)
        (folder / "plugin.py").write_text(RUN.format(roles=", ".join(roles), shown=shown))
        return folder

    return made


def no(**_: Any) -> dict[str, Any]:
    answer = {"suitable": [False], "reason": ["these pixels look like a foot, not a frontal chest"], "score": [0.02]}
    return {name: np.array(value) for name, value in answer.items()}


XRAY = 'when.Modality = ["CR", "DX"]\nguard = "chest_radiograph"'


def series_of(images: Any, folder: Path) -> Series:
    (series,) = testing.stacks(testing.write(images, folder))
    return series


def test_the_models_of_a_plugin_include_its_guards(plugin: Make) -> None:
    assert read_plugin(plugin(xray=XRAY)).manifest.models == ("looker", "guard_chest_radiograph")


def test_the_name_of_a_guard_is_checked(plugin: Make) -> None:
    with pytest.raises(ConfigError, match="guard"):
        read_plugin(plugin(xray=XRAY.replace("chest_radiograph", "Chest Radiograph")))


def test_images_that_a_guard_refuses_never_reach_the_plugin(plugin: Make) -> None:
    image = testing.radiograph()
    image.BodyPartExamined = "CHEST"
    (result,) = testing.run_plugin(plugin(xray=XRAY), {"xray": [image]}, {"guard_chest_radiograph": no})
    assert result == NotSuitable("these pixels look like a foot, not a frontal chest; Body Part Examined says CHEST")


def test_the_reason_says_that_the_header_names_no_part_of_the_body(plugin: Make) -> None:
    image = testing.radiograph()
    image.BodyPartExamined = ""
    (result,) = testing.run_plugin(plugin(xray=XRAY), {"xray": [image]}, {"guard_chest_radiograph": no})
    assert isinstance(result, NotSuitable)
    assert result.reason.endswith("not a frontal chest; the header names no part of the body")


def test_without_a_server_a_guard_finds_images_suitable(plugin: Make) -> None:
    (result,) = testing.run_plugin(plugin(xray=XRAY), {"xray": [testing.radiograph()]}, {})
    assert result == NotSuitable("run was called with True")


def test_any_other_model_that_is_not_given_is_refused() -> None:
    with pytest.raises(ModelRefused, match="no model cxr_findings"):
        FakeTriton({}).infer("cxr_findings")


def test_an_optional_role_whose_guard_refuses_is_none(plugin: Make, tmp_path: Path) -> None:
    folder = plugin(ct='when.Modality = "CT"', xray=f"{XRAY}\noptional = true")
    inputs = {
        "ct": series_of(testing.ct_series(slices=4, rows=8, columns=6), tmp_path / "ct"),
        "xray": series_of([testing.radiograph()], tmp_path / "xray"),
    }
    (result,) = run(read_plugin(folder), inputs, FakeTriton({"guard_chest_radiograph": no}))
    assert result == NotSuitable("run was called with True False")


def test_a_prior_that_a_guard_refuses_is_none(plugin: Make, tmp_path: Path) -> None:
    folder = plugin(xray='when.Modality = "CR"', prior='prior_of = "xray"\nguard = "chest_radiograph"')
    images = {role: series_of([testing.radiograph(seed=role)], tmp_path / role) for role in ("xray", "prior")}
    (result,) = run(read_plugin(folder), images, FakeTriton({"guard_chest_radiograph": no}))
    assert result == NotSuitable("run was called with True False")


def test_of_several_stacks_the_guard_gets_the_middle_one(plugin: Make, tmp_path: Path) -> None:
    folder = plugin(ct='when.Modality = "CT"\nseveral = true\nguard = "heart"')
    stacks = {
        f"ct#{number}": series_of(
            testing.ct_series(array=np.full((4, 8, 6), 10 * number, np.int16)), tmp_path / str(number)
        )
        for number in (1, 2, 3)
    }
    triton = FakeTriton({})
    run(read_plugin(folder), stacks, triton)
    (call,) = triton.calls
    assert call.model == "guard_heart"
    assert set(call.inputs) == {"volume", "affine", "header"}
    assert (call.inputs["volume"] == 20).all()


# What a guard gets.


def test_a_guard_sees_images_as_they_are_displayed(tmp_path: Path) -> None:
    seen = [
        planes_for(series_of([testing.radiograph(photometric=photometric)], tmp_path / photometric))["images"]
        for photometric in ("MONOCHROME1", "MONOCHROME2")
    ]
    assert seen[0].dtype == np.uint8
    assert seen[0].ndim == 4
    assert seen[0].shape[3] == 1
    assert abs(seen[0].astype(int) + seen[1] - 255).max() <= 1


def test_large_images_are_reduced_and_their_spacing_grows(tmp_path: Path) -> None:
    image = testing.radiograph(array=np.arange(1200 * 700, dtype=np.uint16).reshape(1200, 700) // 16)
    image.PixelSpacing = [0.2, 0.1]
    given = planes_for(series_of([image], tmp_path))
    assert given["images"].shape == (1, 400, 233, 1)
    assert given["spacing"] == pytest.approx([0.6, 0.3])


def test_a_coarse_volume_lies_where_the_images_lie(tmp_path: Path) -> None:
    array = np.zeros((300, 6, 520), np.int16)
    array[100:, :, 260:] = 1000
    series = series_of(testing.ct_series(array=array, spacing=(1.0, 2.0, 0.5)), tmp_path)
    given, fine = volume_for(series), series.volume()
    assert given["volume"].shape == (150, 2, 173)
    assert given["volume"].dtype == np.float32
    corner = [50, 0, 87]  # the first voxel that is wholly inside
    assert given["volume"][tuple(corner)] == 1000
    assert given["affine"] @ [*corner, 1] == pytest.approx(fine.affine @ [100, 1, 262, 1])


def test_a_guard_gets_the_hints_of_the_header_and_nothing_of_the_patient(plugin: Make, tmp_path: Path) -> None:
    image = testing.radiograph()
    image.BodyPartExamined, image.PatientName, image.ImageType = "RIBCAGE", "Doe^Jane", ["DERIVED", "PRIMARY"]
    triton = FakeTriton({})
    run(read_plugin(plugin(xray=XRAY)), {"xray": series_of([image], tmp_path / "images")}, triton)
    sent = json.loads(str(triton.calls[0].inputs["header"][0]))
    assert sent == hints(image)
    assert (sent["BodyPartExamined"], sent["ImageType"]) == ("RIBCAGE", ["DERIVED", "PRIMARY"])
    assert not [keyword for keyword in sent if keyword.startswith("Patient") and keyword != "PatientOrientation"]
    assert "Doe" not in json.dumps(sent)


def test_a_guard_gets_the_times_of_an_enhanced_mr() -> None:
    image = testing.enhanced_mr(slices=2)
    echo, modifier = Dataset(), Dataset()
    echo.EffectiveEchoTime, modifier.InversionTimes = 90.0, [2500.0, 2600.0]
    image.PerFrameFunctionalGroupsSequence[0].MREchoSequence = [echo]
    image.SharedFunctionalGroupsSequence[0].MRModifierSequence = [modifier]
    given = hints(image)
    assert (given["EchoTime"], given["InversionTime"]) == ("90.0", "2500.0")
