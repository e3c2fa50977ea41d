"""A plugin's mistakes of form are reported before it ever runs, with the file and the line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from node import DerivedSeries, Finding, Measurement, NotSuitable, Region, Segmentation, testing
from node.errors import BrokenResult, ConfigError
from node.host import find_plugins, read_plugin

ROOT = Path(__file__).parents[2]
MANIFEST = 'name = "spleen"\nversion = "1.0.0"\ntitle = "Spleen"\nkind = "A"\n[series.ct]\nwhen.Modality = "CT"\n'
RUN = "def run(ct, triton):\n    return None\n"

Make = Callable[..., Path]


@pytest.fixture
def plugin(tmp_path: Path) -> Make:
    def made(*, name: str = "spleen", manifest: str = MANIFEST, code: str | None = RUN, below: str = "plugins") -> Path:
        folder = tmp_path / below / name
        folder.mkdir(parents=True)
        (folder / "plugin.toml").write_text(manifest)
        if code is not None:
            (folder / "plugin.py").write_text(code)
        return folder

    return made


def complaint(folder: Path) -> str:
    with pytest.raises(ConfigError) as error:
        read_plugin(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_plugin_of_right_form_is_read(plugin: Make) -> None:
    found = read_plugin(plugin())
    assert (found.name, found.roles, found.manifest.version) == ("spleen", ("ct",), "1.0.0")
    assert found.code.read_text() == RUN


SEVERAL = f"{MANIFEST}several = true\n"


def test_a_role_of_several_stacks_names_them_and_hands_them_over_together(plugin: Make) -> None:
    found = read_plugin(plugin(manifest=SEVERAL))
    inputs = found.named(["one", "two"])
    assert inputs == {"ct#1": "one", "ct#2": "two"}
    assert found.arguments(inputs) == {"ct": ("one", "two")}


def test_several_stacks_are_for_the_only_role(plugin: Make) -> None:
    message = complaint(plugin(manifest=f"{SEVERAL}[series.mr]\nwhen.Modality = 'MR'\n", code=None))
    assert "several is for the only role of a plugin with code" in message


def test_its_code_is_not_run_when_it_is_read(plugin: Make) -> None:
    assert read_plugin(plugin(code=f"raise SystemExit('ran')\n{RUN}")).name == "spleen"


@pytest.mark.parametrize(
    "code", [RUN, "def run(*, triton, ct): ...", "def run(ct, *, triton): ...", f"def run(): ...\n{RUN}"]
)
def test_the_order_of_arguments_does_not_matter(plugin: Make, code: str) -> None:
    assert read_plugin(plugin(code=code)).roles == ("ct",)


@pytest.mark.parametrize(
    ("code", "takes"),
    [
        ("def run(pt, triton): ...", "pt, triton"),
        ("def run(ct): ...", "ct"),
        ("def run(): ...", "nothing"),
        ("def run(ct, triton, extra=1): ...", "ct, extra, triton"),
        ("def run(ct, pt, triton): ...", "ct, pt, triton"),
    ],
)
def test_a_role_that_is_not_in_the_manifest_is_reported_with_file_and_line(plugin: Make, code: str, takes: str) -> None:
    folder = plugin(code=f"import math\n\n\n{code}\n")
    assert complaint(folder) == (
        f"{folder / 'plugin.py'}, line 4: run() takes {takes}, but plugin.toml offers ct, triton"
    )


@pytest.mark.parametrize("code", ["def run(*series): ...", "def run(**series): ...", "def run(ct, triton, /): ..."])
def test_arguments_are_taken_by_name(plugin: Make, code: str) -> None:
    folder = plugin(code=f"\n{code}")
    assert complaint(folder) == f"{folder / 'plugin.py'}, line 2: run() takes its arguments by name, without * and /"


@pytest.mark.parametrize("code", ["", "RUN = 1", "class Plugin:\n    def run(self, ct, triton): ...", "run = print"])
def test_a_plugin_without_run_is_reported(plugin: Make, code: str) -> None:
    folder = plugin(code=code)
    assert complaint(folder) == f"{folder / 'plugin.py'} has no function `run`"


def test_a_plugin_without_code_is_reported(plugin: Make) -> None:
    folder = plugin(code=None)
    assert complaint(folder).startswith(f"{folder / 'plugin.py'}: there is no such file")


def test_code_that_is_no_python_is_reported_with_file_and_line(plugin: Make) -> None:
    message = complaint(plugin(code="import math\ndef run(ct, triton) return ct"))
    assert "plugin.py is not Python: " in message
    assert "line 2" in message


def test_code_that_is_no_text_is_reported(plugin: Make) -> None:
    folder = plugin()
    (folder / "plugin.py").write_bytes(b"# \xff\xfe\n" + RUN.encode())
    assert "plugin.py is not Python" in complaint(folder)


def test_the_folder_has_the_name_of_the_plugin(plugin: Make) -> None:
    folder = plugin(name="other")
    assert complaint(folder) == f"{folder / 'plugin.toml'}: the name is 'spleen', but the folder is called 'other'"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('title = "Spleen"', 'title = "Spleen"\ncolour = "red"', "unknown key colour"),
        ('when.Modality = "CT"', 'when.Modality = "CT"\nspacing = 1', "unknown key series.ct.spacing"),
        ('when.Modality = "CT"', 'when.Modalty = "CT"', "series.ct.when.Modalty: Modalty is neither a DICOM keyword"),
        ('when.Modality = "CT"', "when.Modality = { like = 1 }", "unknown key series.ct.when.Modality.like"),
        ('version = "1.0.0"\n', "", "version: Field required"),
        ('version = "1.0.0"', "version = 1", "version: "),
        ('version = "1.0.0"', 'version = "one and a half"', "version: "),
        ('"spleen"', '"Spleen-1"', "name: 'Spleen-1' is no name"),
        ("[series.ct]", "[series.CT]", "series.CT: 'CT' is no name"),
        ("[series.ct]\n" + 'when.Modality = "CT"\n', "[series]\n", "series: "),
        ("[series.ct]", "[series.triton]", "no role can be called 'triton'"),
        ('title = "Spleen"', 'title = ""', "title: "),
        ('kind = "A"\n', "", "kind is missing; choose the kind of its networks: A, Deterministic method"),
        ('kind = "A"', 'kind = "D"', "kind: Input should be 'A', 'B', 'C', 'V' or 'U'"),
        ('kind = "A"', 'kind = "V"', 'validated_on: name the data of the validation for kind "V"'),
        ('kind = "A"', 'kind = "C"\nvalidated_on = "LiTS"', "validated_on: name the data of the validation for kind"),
        ('title = "Spleen"', "time_limit_seconds = 0\ntitle = 'Spleen'", "time_limit_seconds: "),
    ],
)
def test_a_mistake_in_the_manifest_is_reported_with_file_and_key(
    plugin: Make, before: str, after: str, message: str
) -> None:
    assert before in MANIFEST
    folder = plugin(manifest=MANIFEST.replace(before, after))
    assert complaint(folder).startswith(f"{folder / 'plugin.toml'}: {message}")


def test_plugins_are_found_below_several_folders(plugin: Make, tmp_path: Path) -> None:
    plugin()
    plugin(name="liver", manifest=MANIFEST.replace("spleen", "liver"), below="more")
    (tmp_path / "plugins" / "notes").mkdir()
    assert sorted(find_plugins([tmp_path / "plugins", tmp_path / "more"])) == ["liver", "spleen"]


def test_two_plugins_of_one_name_are_reported_with_their_folders(plugin: Make, tmp_path: Path) -> None:
    first, other = plugin(), plugin(below="more")
    with pytest.raises(ConfigError, match="two plugins called spleen") as error:
        find_plugins([tmp_path / "plugins", tmp_path / "more"])
    assert str(first) in str(error.value)
    assert str(other) in str(error.value)


def test_a_missing_folder_of_plugins_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"there is no folder {tmp_path / 'nowhere'}"):
        find_plugins([tmp_path / "nowhere"])


def test_the_shipped_plugins_are_well_formed_and_their_models_are_there() -> None:
    shipped = find_plugins([ROOT / "plugins"])
    assert {"ct_lung", "template"} <= set(shipped)
    for plugin in shipped.values():
        assert (plugin.folder / "README.md").is_file()
        for model in plugin.manifest.models:
            assert (ROOT / "triton_models" / model / "config.pbtxt").is_file()


DECLARED = (
    MANIFEST + '[model]\nname = "spleen"\n[[segment]]\nlabel = "Spleen"\ntype = "SCT.Spleen"\ncategory = "SCT.Organ"\n'
)


def test_a_manifest_with_a_model_is_a_whole_plugin(plugin: Make) -> None:
    folder = plugin(manifest=DECLARED, code=None)
    manifest = read_plugin(folder).manifest
    assert manifest.models == ("spleen",)
    assert [(item.label, item.type.meaning, item.category.meaning) for item in manifest.segment] == [
        ("Spleen", "Spleen", "Organ")
    ]
    image = np.full((4, 16, 16), -100, np.int16)
    image[1:3, 4:12, 4:12] = 300

    def model(image: NDArray[np.int16], affine: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        assert affine.shape == (4, 4)
        return {"labels": (image > 0).astype(np.uint8), "affine": affine}

    series = testing.ct_series(array=image, spacing=(2.0, 1.0, 1.0))
    both: dict[str, Any] = {"spleen": model}
    outlines, measured = testing.run_plugin(folder, {"ct": series}, both)
    assert isinstance(outlines, Segmentation)
    assert isinstance(measured, Measurement)
    assert (outlines.labels.array == (image > 0)).all()
    assert measured.value == pytest.approx(2 * 8 * 8 * 2 / 1000)


def test_a_network_that_a_native_back_end_runs_is_a_model_of_the_plugin_too(plugin: Make) -> None:
    folder = plugin(manifest=DECLARED.replace("[model]\n", '[model]\nnetwork = "spleen_net"\n'), code=None)
    assert read_plugin(folder).manifest.models == ("spleen_net", "spleen")


TWO = DECLARED + '[series.pt]\nwhen.Modality = "PT"\n'


def test_labels_lie_on_the_grid_that_the_model_says_not_on_that_of_the_first_series(plugin: Make) -> None:
    def model(**given: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {"labels": np.ones((4, 16, 16), np.uint8), "affine": given["pt_affine"]}

    both: dict[str, Any] = {"spleen": model}
    images = {
        role: testing.ct_series(slices=4, rows=16, columns=16, series=role, origin=(at, 0, 0))
        for role, at in (("ct", 0), ("pt", 4))
    }
    outlines, _ = testing.run_plugin(plugin(manifest=TWO, code=None), images, both)
    assert isinstance(outlines, Segmentation)
    assert outlines.labels.affine[0, 3] == 4


TABLES = {
    "finding": ('[[finding]]\nlabel = "Mass"\nname = "SCT.Mass"\n', {"probabilities": [0.75], "present": [True]}),
    "region": (
        '[[region]]\nlabel = "Mass"\ntype = "SCT.Mass"\n',
        {"boxes": [[1, 2, 3, 4, 6, 7]], "scores": [0.5], "classes": [0]},
    ),
    "derived": (
        '[derived]\ndescription = "Smoothed"\nderivation = "DCM.ImageProcessing"\n',
        {"values": np.ones((8, 32, 32), np.float32)},
    ),
}
PLAIN = MANIFEST + '[model]\nname = "spleen"\n'


@pytest.mark.parametrize("kind", TABLES)
def test_outputs_of_a_model_become_the_results_of_the_manifest(plugin: Make, kind: str) -> None:
    table, outputs = TABLES[kind]

    def model(**given: NDArray[Any]) -> dict[str, NDArray[Any]]:
        answer = {name: np.array(value) for name, value in outputs.items()}
        return answer if kind == "finding" else {**answer, "affine": given["affine"]}

    both: dict[str, Any] = {"spleen": model}
    (result,) = testing.run_plugin(plugin(manifest=PLAIN + table, code=None), {"ct": testing.ct_series()}, both)
    match result:
        case Finding():
            assert (result.present, result.score, result.threshold) == (True, 0.75, 0.5)
        case Region():
            assert result.points.tolist() == [[3, 2], [7, 6]]
            assert (result.label, result.image.header.InstanceNumber) == ("Mass 1", 3)
        case DerivedSeries():
            assert result.description == "Smoothed"


@pytest.mark.parametrize(
    ("kind", "answer", "message"),
    [
        ("finding", {"probabilities": [0.5, 0.5], "present": [True, False]}, "gave 2 findings"),
        ("region", {"boxes": [[1, 2, 3, 4, 6, 7]], "scores": [0.5], "classes": [1]}, "a box of class 1"),
        (
            "region",
            {"boxes": [[1, 2, 3, 4, 6, 7]], "scores": [0.5], "classes": [0], "affine": np.diag([9.0, 9, 9, 1])},
            "none of the images it was given",
        ),
        ("derived", {"values": [[[1.0]]], "affine": np.diag([9.0, 9, 9, 1])}, "reaches beyond the images"),
    ],
)
def test_an_answer_that_does_not_fit_the_manifest_or_the_images_is_broken(
    plugin: Make, kind: str, answer: dict[str, Any], message: str
) -> None:
    arrays = {name: np.array(value) for name, value in answer.items()}
    both: dict[str, Any] = {"spleen": lambda **_: arrays}
    with pytest.raises(BrokenResult, match=message):
        testing.run_plugin(plugin(manifest=PLAIN + TABLES[kind][0], code=None), {"ct": testing.ct_series()}, both)


def test_images_that_a_model_made_may_lie_on_a_grid_of_their_own(plugin: Make) -> None:
    def finer(**given: NDArray[Any]) -> dict[str, NDArray[Any]]:
        affine = given["affine"] @ np.diag([0.5, 1.0, 1.0, 1.0])
        return {"values": np.ones((15, 32, 32), np.float32), "affine": affine}

    both: dict[str, Any] = {"spleen": finer}
    table, _ = TABLES["derived"]
    (made,) = testing.run_plugin(plugin(manifest=PLAIN + table, code=None), {"ct": testing.ct_series()}, both)
    assert isinstance(made, DerivedSeries)
    assert made.affine is not None
    assert np.linalg.norm(made.affine[:3, 0]) == pytest.approx(1.25)


def test_series_without_a_frame_of_reference_in_common_are_not_suitable(plugin: Make) -> None:
    both: dict[str, Any] = {"spleen": dict}
    images = {"ct": testing.ct_series(), "pt": testing.ct_series(seed="another study", series="pt")}
    (said,) = testing.run_plugin(plugin(manifest=TWO, code=None), images, both)
    assert said == NotSuitable("the images for pt and ct have no frame of reference in common")


@pytest.mark.parametrize(
    ("manifest", "code", "words"),
    [
        (DECLARED, RUN, "keep one of them"),
        (PLAIN, None, "one [[segment]] for each label"),
        (DECLARED + TABLES["finding"][0], None, "by tables of one kind"),
        (DECLARED.replace("SCT.Spleen", "SCT.Milz"), None, "is no code"),
        (DECLARED.replace('"SCT.Spleen"', '["78961009", "SCT"]'), None, "is no code"),
    ],
)
def test_a_manifest_that_is_not_a_whole_plugin_is_reported(
    plugin: Make, manifest: str, code: str | None, words: str
) -> None:
    assert words in complaint(plugin(manifest=manifest, code=code))
