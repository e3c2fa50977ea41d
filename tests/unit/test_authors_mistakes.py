"""What plugin authors get wrong: each mistake is one sentence, with the line where there is one, and what to do."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node import testing
from node.author_place import author_sentence
from node.commands.new_plugin import new_plugin
from node.host import read_plugin
from node.infer import check_models_of
from tests.mistakes import make_mistake

CODE, MANIFEST, CONFIG = "plugins/bone/plugin.py", "plugins/bone/plugin.toml", "models/bone/config.pbtxt"
SEGMENT = "type=codes.SCT.Bone"
UNIT = "unit=codes.UCUM.CubicCentimeter"
MASK = 'mask = triton.infer("bone", image=volume)["mask"]'
MEASURED = "yield Measurement(name=codes.SCT.Volume, value=millilitres, "

MISTAKES: dict[str, Any] = {
    "misspelt key": (
        MANIFEST,
        "title =",
        "titel =",
        r"plugin\.toml: unknown key titel; did you mean title\? \(line 3\)",
    ),
    "misspelt table": (MANIFEST, "[series.ct]", "[serie.ct]", r"unknown key serie; did you mean series\?"),
    "no quotes": (MANIFEST, 'title = "Dense tissue"', "title = Dense tissue", r"plugin\.toml is not TOML: .*line 3"),
    "a number as version": (MANIFEST, '"0.1.0"', "0.1", r"version: Input should be a valid string \(line 2\)"),
    "name and folder differ": (MANIFEST, '"bone" ', '"bones" ', "the name is 'bones', but the folder is called 'bone'"),
    "no such attribute": (
        MANIFEST,
        "when.Modality",
        "when.Modalty",
        r"Modalty is neither a DICOM keyword.*\(line 10\)",
    ),
    "no such guard": (
        MANIFEST,
        "when.Modality",
        'guard = "chest"\nwhen.Modality',
        r"plugin\.toml: the guard of series\.ct names guard_chest, which is not in .*models; put its folder there",
    ),
    "misspelt model": (
        MANIFEST,
        'models = ["bone"]',
        'models = ["bones"]',
        r"models names bones, which is not in .*; put its folder there; did you mean bone\?",
    ),
    "no model configuration": (CONFIG, ..., None, r"config\.pbtxt: there is no such file; a model's folder on Triton"),
    "no inputs": (CONFIG, ..., 'name: "bone"\nbackend: "python"\n', r"config\.pbtxt declares no inputs: write them"),
    "bad model configuration": (
        CONFIG,
        "max_batch_size",
        "max_bach_size",
        r'config\.pbtxt is no model .*3:1 : .*"max_bach',
    ),
    "no plugin.py": (CODE, ..., None, r"plugin\.py: there is no such file; write it, with a function `run`"),
    "no function run": (CODE, "def run(", "def main(", r"plugin\.py has no function `run`"),
    "no colon": (CODE, "-> Iterator[Result]:", "-> Iterator[Result]", r"plugin\.py is not Python: .*line 10"),
    "another role": (
        CODE,
        "run(ct: Series",
        "run(image: Series",
        r"line 10: run\(\) takes image, triton, but plugin\.toml",
    ),
    "return in place of yield": (
        CODE,
        MEASURED,
        MEASURED.replace("yield", "return"),
        r"plugin\.py, line 16: run\(\) yields, and what it returns here is lost; write yield in place of return",
    ),
    "return in a function that run calls": (
        CODE,
        "    volume = ct.volume()",
        "    return inner(ct)\n\n\ndef inner(ct):\n    return 1\n    yield\n",
        r"run\(\) yields, and returns a int, which is lost: write yield there",
    ),
    "library that is missing": (
        CODE,
        "from node import",
        "import monai_old\nfrom node import",
        "install what it needs",
    ),
    "misspelt import": (CODE, "Segmentation, Series", "Segmentaton, Series", r"did you mean Segmentation\?", 5),
    "misspelt code": (CODE, SEGMENT, "type=codes.SCT.Bonee", r"keyword 'Bonee'.*did you mean Bone\?", 7),
    "code of a retired scheme": (
        CODE,
        SEGMENT,
        'type=codes.Code("T-D016E", "SRT", "Bone")',
        r"type of a Segment is of the coding scheme SRT, which DICOM has retired: write codes\.SCT\.\w*Bone",
    ),
    "retired code as a tuple": (
        CODE,
        SEGMENT,
        'type=("T-1", "SRT", "Bone")',
        r"retired: write its code of SCT.*line 7",
    ),
    "tuple in place of a code": (CODE, SEGMENT, 'type=("1", "SCT", "Bone")', r"not a code: write codes\.SCT\.NAME"),
    "text in place of a unit": (
        CODE,
        UNIT,
        'unit="ml"',
        r"is 'ml', not a code: write codes\.UCUM\.CubicCentimeter",
        16,
    ),
    "unit that is none": (
        CODE,
        UNIT,
        "unit=codes.SCT.Volume",
        r"the unit of Volume is of scheme SCT, not UCUM \(plugin\.py",
    ),
    "misspelt output": (
        CODE,
        '["mask"]',
        '["maks"]',
        r"model bone has no output 'maks'; it has: mask; did you mean mask\?",
        13,
    ),
    "model that is not declared": (
        CODE,
        'infer("bone"',
        'infer("bon"',
        r"must add it to models; did you mean bone\?",
        13,
    ),
    "misspelt input": (CODE, "image=volume", "images=volume", r"model bone refused: .*'images'\.", 13),
    "labels that are no whole numbers": (
        CODE,
        MASK,
        MASK + " * 0.5",
        r"labels are whole numbers or true/false, not float64",
        14,
    ),
    "labels of another shape": (
        CODE,
        MASK,
        MASK + "[1:]",
        r"an array of \(4, 8, 8\) does not fit the grid of \(5, 8, 8\)",
        14,
    ),
    "no segments": (CODE, "segments=[DENSE]", "segments=[]", r"a segmentation has at least one segment", 14),
    "label without a segment": (
        CODE,
        MASK,
        MASK + " * 2",
        r"labels run from 0 to 2, but there are segments 1 to 1",
        14,
    ),
    "segment that was not given": (
        CODE,
        "    yield Segmentation(",
        "    Segmentation(",
        "is of segment 'Dense tissue', which no segmentation has",
    ),
    "not a number": (
        CODE,
        "value=millilitres",
        'value=float("nan")',
        r"Volume is nan: a measurement is a finite number",
        16,
    ),
    "something that is no result": (
        CODE,
        "    yield Segmentation(",
        "    yield dict(",
        r"run\(\) yields a dict, which is no result; results are Segmentation.*",
        14,
    ),
    "a dict returned": (
        CODE,
        MEASURED,
        'return {"volume": 1}\n    yield Measurement(name=codes.SCT.Volume, value=millilitres, ',
        "is lost; write yield",
    ),
    "misspelt attribute": (CODE, "voxel_ml", "voxelml", r"no attribute 'voxelml'; did you mean voxel_ml\?", 15),
    "misspelt argument": (
        CODE,
        "value=millilitres",
        "values=millilitres",
        r"unexpected keyword argument 'values'.*",
        16,
    ),
    "any other error": (CODE, "voxel_ml", "voxel_ml / 0", r"ZeroDivisionError: .*", 15),
}
"""A mistake → its file, what is replaced there (... is all of it; None removes the file) and by what, what is said.

Behind it may be the line of plugin.py that is named.
"""


def fake_model(image: Any) -> Mapping[str, Any]:
    return {"mask": (image > 200).astype(np.uint8)}


def said(tmp_path: Path, images: Any) -> str:
    """Return what `isocenter check` and `plugin try` say of the plugin, or what parks its job."""
    try:
        check_models_of(read_plugin(tmp_path / "plugins" / "bone"), [tmp_path / "models"])
        testing.run_plugin(tmp_path / "plugins" / "bone", {"ct": images}, {"bone": fake_model})
    except Exception as error:  # noqa: BLE001 (a plugin may raise anything)
        return author_sentence(error)
    return ""


@pytest.fixture(scope="module")
def images() -> Any:
    array = np.full((5, 8, 8), -1000, np.int16)
    array[1:4, 2:6, 2:6] = 400
    return testing.ct_series(array=array, spacing=(2.0, 1.0, 1.0))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_an_author_is_one_sentence(tmp_path: Path, images: Any, mistake: str) -> None:
    new_plugin("bone", tmp_path / "plugins", tmp_path / "models")
    assert said(tmp_path, images) == ""
    file, before, after, sentence, *line = MISTAKES[mistake]
    make_mistake(tmp_path / file, before, after)
    complaint = said(tmp_path, images)
    assert "\n" not in complaint
    assert re.search(sentence, complaint), complaint
    for number in line:
        assert complaint.endswith(f"(plugin.py, line {number})")


def test_of_a_plugin_that_was_saved_twice_in_a_second_the_last_text_runs(
    tmp_path: Path, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    new_plugin("bone", tmp_path / "plugins", tmp_path / "models")
    path = tmp_path / "plugins" / "bone" / "plugin.py"
    saved = path.stat()
    assert said(tmp_path, images) == ""
    path.write_text(path.read_text().replace('["mask"]', '["maks"]'))
    os.utime(path, ns=(saved.st_atime_ns, saved.st_mtime_ns))
    assert "did you mean mask?" in said(tmp_path, images)
