"""Every code of the node's own scheme has a reason: no public table has a code that means the same."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydicom.sr._concepts_dict import concepts
from pydicom.sr.codedict import codes as public

from node.codes import Code
from tests.peers import ROOT

MODIFIER = "public tables have a concept and a modifier, which readers drop"
INDEXED = "LOINC in the tables of PS3.16 has indexed volumes and masses of echocardiography alone"
COMPARISON = "a value beside that of a prior: tables of PS3.16 have none"
SCORE = "a number of a network that is no probability: DICOM has Certainty of Finding and Probability"
QUALITY = "PS3.16 CID 6135 names failures of a radiograph, and not this one"
CLASS = "a class of the data set that the network learned from, which unites several concepts"
MEASURE = "PS3.16 and RadElement have no such measure"
NOISE = "PS3.16 has Signal to Noise Ratio, and no noise and no difference of two series"
PRIVATE = {
    "PRIOR": COMPARISON,
    "PRIOR_AGE": COMPARISON,
    "CHANGE": COMPARISON,
    "CHANGE_PERCENT": COMPARISON,
    "DOUBLING_TIME": COMPARISON,
    "NEW_NODULE": COMPARISON,
    "NOT_COMPARED": COMPARISON,
    "SOLID_PART_DIAMETER": MODIFIER,
    "PRESENCE_SCORE": SCORE,
    "SCORE_{key}": SCORE,
    "INTERVAL_LOW": SCORE,
    "INTERVAL_HIGH": SCORE,
    "INDETERMINATE": SCORE,
    "AFTER_R_WAVE": "DICOM has it as an attribute (Trigger Time), not as a concept",
    "PERC15": MODIFIER,
    "SUVBW_MEAN": MODIFIER,
    "MEAN_SLICE_AREA": MODIFIER,
    "SUL_PEAK": MODIFIER,
    "LV_EDV_INDEX": INDEXED,
    "LV_ESV_INDEX": INDEXED,
    "LV_SV_INDEX": INDEXED,
    "LV_MASS_INDEX": INDEXED,
    "ct-contrast": "DCM 122086 says that contrast medium was administered, not that it is seen in vessels",
    "INTRAVENTRICULAR_HAEMORRHAGE": "not in the tables of PS3.16, and sources of SNOMED CT at hand disagree",
    "liver-spleen-HU": MEASURE,
    "ENLARGED_CARDIOMEDIASTINUM": CLASS,
    "LUNG_LESION": CLASS,
    "PLEURAL_THICKENING": "not in the tables of PS3.16, and not verified in SNOMED CT",
    "SUPPORT_DEVICES": CLASS,
    "cxr-frontal": QUALITY,
    "cxr-view-differs": QUALITY,
    "cxr-inverted": QUALITY,
    "cxr-off-middle": QUALITY,
    "cxr-mediastinal-offset": MEASURE,
    "as-in-dementia": CLASS,
    "as-in-parkinson": CLASS,
    "SYNTHETIC_CT": "PS3.16 CID 7203 has no derivation by a network",
    "WHOLE_TUMOUR_VOLUME": MEASURE,
    "BIDIMENSIONAL_PRODUCT": MEASURE,
    "NOISE_BEFORE": NOISE,
    "NOISE_AFTER": NOISE,
    "MEAN_ABSOLUTE_DIFFERENCE": NOISE,
    "REFERABLE_RETINOPATHY": "a decision of screening, which unites several grades",
    "RETINAL_VESSEL_DENSITY": MEASURE,
    "pt-raised-uptake": "SNOMED CT has it of the heart and the lung alone",
    "pt-uptake-outside": "SNOMED CT has it of the heart and the lung alone",
    "pt-volume-above": MEASURE,
    "LOCAL_CORRELATION": MEASURE,
    "LOCAL_CORRELATION_RIGID": MEASURE,
    "PART_{key.upper()}": MEASURE,
    "SLIDE_{key.upper()}": "the worst class of a slide, as in BACH",
    "BENIGN_BREAST": CLASS,
    "BENIGN_KERATOSIS": CLASS,
    "DERMATOFIBROMA": "not in the tables of PS3.16, and not verified in SNOMED CT",
    "VASCULAR_SKIN_LESION": CLASS,
}
"""Value of a private code → why there is no public one."""
SNOMED = "SNOMED CT, International Edition: a disorder that no context group of PS3.16 lists"
RADLEX = "RadLex: the texture of a nodule, in no context group of PS3.16"
UNIT = "a valid expression of UCUM that pydicom has no keyword for"
ELSEWHERE = {
    ("SCT", "125605004"): SNOMED,
    ("SCT", "189336000"): SNOMED,
    ("SCT", "197321007"): SNOMED,
    ("SCT", "21454007"): SNOMED,
    ("SCT", "233604007"): SNOMED,
    ("SCT", "254701007"): SNOMED,
    ("SCT", "274100004"): SNOMED,
    ("SCT", "312903003"): SNOMED,
    ("SCT", "312904009"): SNOMED,
    ("SCT", "312905005"): SNOMED,
    ("SCT", "35486000"): SNOMED,
    ("SCT", "400096001"): SNOMED,
    ("SCT", "46621007"): SNOMED,
    ("SCT", "4855003"): SNOMED,
    ("SCT", "51615001"): SNOMED,
    ("SCT", "59276001"): SNOMED,
    ("SCT", "713609000"): SNOMED,
    ("SCT", "8186001"): SNOMED,
    ("SCT", "82999001"): SNOMED,
    ("SCT", "84089009"): SNOMED,
    ("SCT", "87433001"): SNOMED,
    ("SCT", "93655004"): SNOMED,
    ("SCT", "95436008"): SNOMED,
    ("RADLEX", "RID50151"): RADLEX,
    ("RADLEX", "RID50152"): RADLEX,
    ("RADLEX", "RID50153"): RADLEX,
    ("RADELEMENT", "RDE1953"): "RadElement: the common data element of the part of a lung below -950 HU",
    ("UMLS", "C0034375"): "TID 1500 row 12 of PS3.16 names it so",
    ("UCUM", "g"): UNIT,
    ("UCUM", "ml/m2"): UNIT,
    ("UCUM", "g/m2"): UNIT,
}
"""Public code that the tables of PS3.16, as pydicom has them, do not have → where it is from."""
REPLACED = (
    Code("112181", "DCM", "Mean Attenuation Coefficient"),
    Code("112183", "DCM", "Standard Deviation of Attenuation Coefficient"),
    Code("110700", "DCM", "Ventral Diencephalon"),
    Code("111287", "DCM", "Normal breast tissue"),
    Code("112001", "DCM", "Opacity"),
    Code("130576", "DCM", "Anatomy coverage incomplete"),
    Code("111183", "DCM", "View and Laterality Marker is incorrect"),
    Code("121207", "DCM", "Height"),
)
"""Codes that took the place of private ones."""


def private_codes() -> Iterator[str]:
    """Yield the values of all codes that node and plugins make by `own`."""
    for path in sorted(Path(ROOT).glob("node/**/*.py")) + sorted(Path(ROOT).glob("plugins/*/plugin.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in {"own", "codes.own"}:
                yield ast.unparse(call.args[0]).removeprefix("f").strip("'\"")


def test_every_private_code_has_a_reason() -> None:
    assert set(private_codes()) == PRIVATE.keys()


def written_codes() -> Iterator[tuple[str, str]]:
    """Yield scheme and value of all codes that node and plugins write in full."""
    for path in sorted(Path(ROOT).glob("node/**/*.py")) + sorted(Path(ROOT).glob("plugins/*/plugin.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in {"Code", "codes.Code"}:
                values = [part.value for part in call.args if isinstance(part, ast.Constant)]
                if len(values) == 3:
                    yield str(values[1]), str(values[0])


def test_a_code_that_the_tables_of_dicom_do_not_have_is_from_a_named_source() -> None:
    tables: Mapping[str, Any] = concepts
    known = {
        (scheme, value) for scheme, _ in written_codes() for entry in tables.get(scheme, {}).values() for value in entry
    }
    assert set(written_codes()) - known == ELSEWHERE.keys()


def test_the_public_codes_in_their_place_are_those_of_the_tables() -> None:
    known = {(getattr(public.DCM, name).value, getattr(public.DCM, name).meaning) for name in public.DCM.dir()}
    assert {(code.value, code.meaning) for code in REPLACED} <= known
