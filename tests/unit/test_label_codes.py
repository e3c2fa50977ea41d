"""Codes for what public models call their classes: structures with their sides, and common findings."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from node.errors import ConfigError
from node.host.coded import _code as parsed
from node.models.add import _modality
from node.models.import_source import Brought, Source
from node.models.label_codes import FINDINGS, STRUCTURES, UNKNOWN, finding_code, label_codes, structure_codes
from node.models.made_in_sandbox import ModelToAdd
from node.models.network_file import Network
from node.serving.chain import Chain

SIDED = (
    "adrenal_gland autochthon clavicula femur gluteus_maximus gluteus_medius gluteus_minimus hip humerus iliac_artery "
    "iliac_vena iliopsoas kidney scapula subclavian_artery brachiocephalic_vein common_carotid_artery kidney_cyst"
)
SINGLE = (
    "aorta brain colon duodenum esophagus gallbladder heart inferior_vena_cava liver pancreas "
    "portal_vein_and_splenic_vein prostate pulmonary_vein sacrum skull small_bowel spinal_cord spleen sternum stomach "
    "superior_vena_cava thyroid_gland trachea urinary_bladder vertebrae_S1 atrial_appendage_left brachiocephalic_trunk "
    "costal_cartilages lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right "
    "lung_lower_lobe_right"
)
TOTAL = (
    *(f"{name}_{side}" for name in SIDED.split() for side in ("left", "right")),
    *SINGLE.split(),
    *(f"vertebrae_{level}{n}" for level, count in (("C", 7), ("T", 12), ("L", 5)) for n in range(1, count + 1)),
    *(f"rib_{side}_{number}" for side in ("left", "right") for number in range(1, 13)),
)
"""The 117 classes of TotalSegmentator's task total (map_to_binary.py at 0e65a44)."""
OTHERS = [
    "lung_left", "lung_right", "intervertebral_discs", "vertebrae", "body_trunc", "body_extremities",
    "lung_arteries", "lung_veins", "lung_airways", "lung", "lung_nodules", "liver_lesions", "liver_vessels",
    "liver_tumor", "intracerebral_hemorrhage", "pleural_effusion", "pericardial_effusion", "vertebrae_body",
    "breast", "hip_implant", "heart_myocardium", "heart_atrium_left", "heart_ventricle_left", "heart_atrium_right",
    "heart_ventricle_right", "pulmonary_artery", "subcutaneous_fat", "torso_fat", "skeletal_muscle",
    "abdominal_cavity", "thoracic_cavity", "mediastinum", "pericardium", "liver_segment_1", "liver_segment_8",
]  # fmt: skip
"""Of its other tasks in the catalogue."""


def test_at_least_19_of_20_names_of_totalsegmentator_are_coded() -> None:
    assert len(TOTAL) == 117
    known = [name for name in (*TOTAL, *OTHERS) if structure_codes(name).known]
    assert len(known) >= 0.95 * len(TOTAL + tuple(OTHERS))
    assert all(structure_codes(name).known for name in TOTAL)


@pytest.mark.parametrize("name", [name for name in (*TOTAL, *OTHERS) if "left" in name or "right" in name])
def test_a_side_is_a_laterality_or_in_the_code_itself(name: str) -> None:
    found = structure_codes(name)
    side = "left" if "left" in name else "right"
    meaning = parsed(found.type).meaning.lower()
    assert found.laterality == f"SCT.{side.capitalize()}" or side in meaning


@pytest.mark.parametrize("path", [STRUCTURES, FINDINGS], ids=lambda path: path.name)
def test_every_code_of_the_tables_can_be_written_into_a_manifest(path: Path) -> None:
    for row in tomllib.loads(path.read_text()).values():
        for value in (
            [row[key] for key in ("type", "category", "region") if key in row] if isinstance(row, dict) else [row]
        ):
            code = parsed(value)
            assert len(code.value) <= 16
            assert 0 < len(code.meaning) <= 64


@pytest.mark.parametrize(
    ("label", "kind", "side"),
    [
        ("Right Kidney", "SCT.Kidney", "SCT.Right"),
        ("Left Kideny", "SCT.Kidney", "SCT.Left"),
        ("IVC", "SCT.InferiorVenaCava", ""),
        ("lv_pool", "SCT.LeftVentricle", ""),
        ("Spleen", "SCT.Spleen", ""),
        ("Left-Hippocampus", "SCT.Hippocampus", "SCT.Left"),
        ("something odd, left", UNKNOWN, "SCT.Left"),
    ],
)
def test_names_of_other_models_are_understood(label: str, kind: str, side: str) -> None:
    found = structure_codes(label)
    assert (found.type, found.laterality) == (kind, side)


def test_a_lesion_has_its_region_and_is_no_organ() -> None:
    found = structure_codes("lung_nodules")
    assert (found.type, found.region) == ("SCT.Nodule", "SCT.Lung")
    assert found.category == "SCT.MorphologicallyAbnormalStructure"
    assert found.lines().count("\n") == 3


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("Pneumonia", "233604007"), ("Pleural_Thickening", "PLEURAL_THICKENI"), ("Lung Opacity", ""),
        ("subdural", "35486000"), ("MEL", "93655004"), ("Severe NPDR", "312905005"),
    ],
)  # fmt: skip
def test_common_findings_have_codes(label: str, value: str) -> None:
    found = finding_code(label)
    assert found.known
    assert parsed(found.type).value.startswith(value)


def test_a_finding_of_no_known_name_has_a_code_of_the_nodes_own() -> None:
    found = label_codes("Nothing that anybody knows", "findings")
    assert (found.type, found.known) == (["NOTHING_THAT_ANY", "99ISOCENTER", "Nothing that anybody knows"], False)


@pytest.mark.parametrize(
    ("stated", "said"), [("Mammogram", "are 'Mammogram', which is no"), ("", "are of no modality")]
)
def test_a_modality_that_is_not_understood_is_asked_for(stated: str, said: str) -> None:
    source = Source(path=Path("bundle"))
    words = {"name": "n", "models": Path(), "plugins": Path(), "labels": (), "backend": "python"}
    order = ModelToAdd(source=source, modality="", validated_on="", guard="", **words)
    network = Network(kind="ONNX", ask=lambda tiles: tiles, save=lambda path: None)
    brought = Brought(network=network, chain=Chain(), example=(1, 1, 8, 8, 8), stated=stated)
    with pytest.raises(ConfigError, match=f"{said}.*say which, --modality MR"):
        _modality(order, brought)
    assert _modality(replace(order, modality="MG"), brought) == "MG"
    assert _modality(order, replace(brought, modality="MR")) == "MR"
