"""What every plugin measures in the answers that its own test makes up, composed and read back as others read it."""

import importlib.util
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydicom.dataset import Dataset

from node import testing
from node.compose import Case, Identity, compose, write_object
from node.profiles import DEFAULT_KINDS
from node.results import Comparison, Measurement, NotSuitable, Result
from node.results.figures import reported
from node.testing import plugin_run
from tests.peers import ROOT

MEASUREMENT_GROUP, TRACKING_IDENTIFIER = "125007", "112039"
WHOLE = "Images as a whole"
MOST_SERIES = 3
"""What a job may add to a study at a destination that asks for nothing else: more is clutter."""


@dataclass(frozen=True, slots=True, order=True)
class Quantity:
    """What a reader keeps of a number who knows no modifiers: its subject, concept, unit and value."""

    subject: str
    scheme: str
    concept: str
    unit: str
    value: float


RUNS: Mapping[str, Callable[[Any], object]] = {
    "ct_body": lambda test: test.results(test.model()),
    "ct_denoise": lambda test: test.results(test.images_of()),
    "ct_head_bleed": lambda test: test.results(test.images_of(), bleeding={6: 0.9}),
    "ct_liver": lambda test: test.results(*test.abdomen()),
    "ct_lung": lambda test: testing.run_plugin(
        test.HERE, {"ct": testing.ct_series(slices=3, rows=8, columns=8)}, {"ct_lung": test.answer}, judge=False
    ),
    "ct_lung_nodule": lambda test: test.test_growth_and_doubling_time_are_as_calculated_by_hand(),
    "cxr_findings": lambda test: test.results(test.chest()),
    "cxr_quality": lambda test: test.looked_at(testing.radiograph(), test.model()),
    "mg_lesion": lambda test: test.results(test.mammogram()),
    "mr_brain": lambda test: test.results(test.images(), test.outlines()),
    "mr_cardiac": lambda test: test.results(test.marked()),
    "mr_superres": lambda test: test.results(test.images_of()),
    "mr_to_ct": lambda test: test.results(test.images_of()),
    "mr_tumour": lambda test: test.results(test.tumour()),
    "op_retina": lambda test: test.results(testing.fundus_photograph(array=test.PHOTO), (0.9, 0.7, 0.1, 0.0)),
    "pt_lesion": lambda test: test.test_a_ct_in_the_same_place_gives_the_attenuation_of_each_uptake(),
    "register_prior": lambda test: test.test_it_gives_the_motion_the_deformation_and_the_prior_in_place(),
    "sm_breast": lambda test: test.results(test.slide_of(4, 4)),
    "template": lambda test: test.test_a_dense_block_is_outlined_where_it_lies_and_measured(),
    "us_lesion": lambda test: test.results(test.ultrasound(test.region((20, 10, 140, 130)))),
    "xc_skin": lambda test: test.results(testing.photograph(array=test.PHOTO)),
}
"""Plugin → how its own test module runs it on an answer with something in it."""


def read_back(
    plugin: str, monkeypatch: pytest.MonkeyPatch, read: Callable[[list[Dataset]], list[Quantity]]
) -> list[tuple[list[Quantity], list[Quantity]]]:
    """Run a plugin as its test does; return for each run the quantities that it yielded, and those that were read."""
    run, found = plugin_run.run, []

    def recorded(plugin_found: Any, inputs: Any, *words: Any, **options: Any) -> tuple[Result, ...]:
        results = run(plugin_found, inputs, *words, **options)
        assert not any(isinstance(result, NotSuitable) for result in results)
        made = compose(Case(inputs=inputs, results=results, identity=_identity(plugin, inputs)))
        assert len({each.SeriesInstanceUID for each in made}) <= MOST_SERIES
        found.append((yielded(results), read(made)))
        return results

    monkeypatch.setattr(plugin_run, "run", recorded)
    RUNS[plugin](_test_of(ROOT / "plugins" / plugin))
    return found


def yielded(results: tuple[Result, ...]) -> list[Quantity]:
    """Return the quantities among results, sorted."""
    plain = [result.measurement if isinstance(result, Comparison) else result for result in results]
    return sorted(
        Quantity(
            subject=result.of.label if result.of else WHOLE,
            scheme=result.name.scheme_designator,
            concept=result.name.value,
            unit=result.unit.value,
            value=reported(result.value),
        )
        for result in plain
        if isinstance(result, Measurement)
    )


def harvested(objects: list[Dataset]) -> list[Quantity]:
    """Return the numbers of the reports among objects, by pydicom alone, sorted; what two reports say is read once."""
    found: list[Quantity] = []
    for report in (made for made in objects if made.Modality == "SR"):
        known = set(found)
        found += [number for group in _groups(report) for number in _numbers(group) if number not in known]
    return sorted(found)


def harvested_by_dcmqi(objects: list[Dataset], folder: Path) -> list[Quantity]:
    """Return the numbers of the report among objects, as dcmqi reads them, sorted."""
    write_object(next(made for made in objects if made.Modality == "SR"), folder / "sr.dcm")
    program = next(path.locate() for path in files("dcmqi") or () if path.name == "tid1500reader")
    told = folder / "sr.json"
    words = ["--inputDICOM", folder / "sr.dcm", "--outputMetadata", told]
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(
        Quantity(
            subject=group["TrackingIdentifier"],
            scheme=item["quantity"]["CodingSchemeDesignator"],
            concept=item["quantity"]["CodeValue"],
            unit=item["units"]["CodeValue"],
            value=float(item["value"]),
        )
        for group in json.loads(told.read_text())["Measurements"]
        for item in group.get("measurementItems", ())
    )


def _groups(item: Dataset) -> list[Dataset]:
    below = list(item.get("ContentSequence") or ())
    here = [item] if "ConceptNameCodeSequence" in item and _name(item) == MEASUREMENT_GROUP else []
    return here + [group for each in below for group in _groups(each)]


def _numbers(group: Dataset) -> list[Quantity]:
    items = group.ContentSequence
    subject = next(item.TextValue for item in items if _name(item) == TRACKING_IDENTIFIER)
    found = []
    for item in items:
        if item.ValueType == "NUM":
            (measured,) = item.MeasuredValueSequence
            (unit,) = measured.MeasurementUnitsCodeSequence
            found.append(
                Quantity(
                    subject=subject,
                    scheme=item.ConceptNameCodeSequence[0].CodingSchemeDesignator,
                    concept=_name(item),
                    unit=_value(unit),
                    value=float(measured.NumericValue),
                )
            )
    return found


def _name(item: Dataset) -> str:
    return _value(item.ConceptNameCodeSequence[0])


def _value(code: Dataset) -> str:
    """Return the value of a code; one of more than 16 characters stands in an attribute of its own (PS3.3 8.1)."""
    return str(code.get("CodeValue") or code.LongCodeValue)


def _test_of(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"read_back_{folder.name}", folder / "test_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _identity(plugin: str, inputs: Any) -> Identity:
    return Identity(
        study_uid=next(iter(inputs.values())).study_uid,
        revision=1,
        plugin=plugin,
        version="1",
        title=plugin,
        manufacturer="",
        models=(),
        at=datetime(2026, 11, 21, 9, 30, 15, tzinfo=UTC),
        first_series_number=3000,
        device_uid="2.25.42",
        objects=DEFAULT_KINDS,
    )
