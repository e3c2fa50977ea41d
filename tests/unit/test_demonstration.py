"""A network trained on phantoms is asked about phantoms only, unless a test route allows it; then all says so."""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node import flow, testing
from node.compose import Case
from node.compose.annotated_image import ALERT
from node.compose.composers import compose_by_kind
from node.compose.stored_objects import store_page, stored_pages
from node.compose.summary_page import draw_summary_page
from node.errors import ConfigError, ModelRefused
from node.host import DEMONSTRATION, Kind, Plugin, read_plugin
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.images.synthetic import all_marked, is_marked
from node.infer import Order, models_asked
from node.infer.run import run
from node.ledger import Ledger
from node.models.config_pbtxt import volume_config
from node.models.manifest_lines import kind_lines
from node.models.manifest_lines import kind_of as kind_of_weights
from node.profiles import SOP_CLASSES
from node.records import Job, JobState, Plan
from node.results import NotSuitable, Result
from node.route import Routes, plan, read_routes
from node.serving.chain import Chain
from node.spool import Spool
from node.triton.fake import FakeTriton
from node.triton.model_config import kind_of, parsed
from tests.matrix import IMAGES, identity_of, results_of, series_in

MANIFEST = (
    'name = "spleen"\nversion = "1"\ntitle = "Spleen"\nkind = "{kind}"\n{more}[series.ct]\nwhen.Modality = "CT"\n'
)
PRIOR = '[series.prior]\nprior_of = "ct"\n'
CODE = """\
from node import Measurement, codes

def run({roles}, triton):
    triton.infer("spleen")
    return Measurement(name=codes.SCT.Volume, value=1, unit=codes.UCUM.CubicCentimeter)
"""
ASCII = DEMONSTRATION.replace("–", "-")


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., Plugin]:
    def made(kind: str = "C", *, prior: bool = False, more: str = 'models = ["spleen"]\n') -> Plugin:
        folder = tmp_path / "plugins" / "spleen"
        folder.mkdir(parents=True, exist_ok=True)
        more += 'validated_on = "1,000 CT of three hospitals"\n' if kind == "V" else ""
        (folder / "plugin.toml").write_text(MANIFEST.format(kind=kind, more=more) + (PRIOR if prior else ""))
        (folder / "plugin.py").write_text(CODE.format(roles="ct, prior" if prior else "ct"))
        return read_plugin(folder)

    return made


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Series]:
    def made(images: Sequence[Dataset], name: str = "images") -> Series:
        paths = testing.write(images, tmp_path / name)
        (series,) = group_into_stacks(Part10.of_file(path) for path in paths).series
        return series

    return made


def phantom(**wanted: Any) -> list[Dataset]:
    return testing.ct_series(**{"slices": 3, "rows": 8, "columns": 8, **wanted})


def asked(plugin: Plugin, allow: bool = False, **inputs: Series) -> tuple[tuple[Result, ...], int]:
    """Run a plugin; return its results, and how often its network was asked."""
    triton = FakeTriton({"spleen": dict})
    return run(plugin, inputs, triton, allow_demonstration=allow), len(triton.calls)


def is_refused(results: Sequence[Result]) -> bool:
    (result,) = results
    return isinstance(result, NotSuitable) and not result.reported


# The mark.


@pytest.mark.parametrize("name", IMAGES)
def test_whatever_node_testing_makes_is_marked(name: str) -> None:
    assert all(is_marked(image) for image in IMAGES[name]("marked"))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_the_mark_outlasts_storing_in_any_syntax(tmp_path: Path, syntax: str) -> None:
    paths = []
    for number, image in enumerate(phantom()):
        image.file_meta.TransferSyntaxUID = syntax
        paths.append(tmp_path / f"{number}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    assert all_marked(group_into_stacks(map(Part10.of_file, paths)).series)


def test_a_mark_that_was_copied_to_an_image_with_another_uid_is_none() -> None:
    (image, *_) = phantom()
    image.SOPInstanceUID = "1.2.3"
    assert not is_marked(image)


def test_a_mark_can_be_taken_away_and_copies_of_an_image_have_their_own() -> None:
    images = phantom()
    assert not any(map(is_marked, testing.unmarked(images)))
    assert all(map(is_marked, [*images, *testing.duplicated(images, 1), *testing.repeated(images, times=2)]))


# The refusal.


def test_a_demonstration_network_is_asked_about_phantoms(
    plugin: Callable[..., Plugin], loaded: Callable[..., Series]
) -> None:
    assert asked(plugin(), ct=loaded(phantom()))[1] == 1


@pytest.mark.parametrize("acquired", [slice(0, 3), slice(2, 3)], ids=["all", "the last alone"])
def test_it_is_not_asked_if_one_image_was_acquired(
    plugin: Callable[..., Plugin], loaded: Callable[..., Series], acquired: slice
) -> None:
    images = phantom()
    images[acquired] = testing.unmarked(images[acquired])
    results, times = asked(plugin(), ct=loaded(images))
    assert (is_refused(results), times) == (True, 0)
    (refusal,) = results
    assert isinstance(refusal, NotSuitable)
    assert refusal.reason.startswith("spleen has a demonstration network, trained on phantoms; bring weights: ")
    assert "plugins/spleen/README.md" in refusal.reason


def test_it_is_not_asked_if_the_prior_was_acquired(
    plugin: Callable[..., Plugin], loaded: Callable[..., Series]
) -> None:
    prior = loaded(testing.unmarked(phantom(seed="before")), "before")
    results, times = asked(plugin(prior=True), ct=loaded(phantom()), prior=prior)
    assert (is_refused(results), times) == (True, 0)
    assert asked(plugin(prior=True), ct=loaded(phantom()))[1] == 1, "no prior is none that was acquired"


def test_it_is_asked_where_that_is_allowed(plugin: Callable[..., Plugin], loaded: Callable[..., Series]) -> None:
    assert asked(plugin(), allow=True, ct=loaded(testing.unmarked(phantom())))[1] == 1


@pytest.mark.parametrize("kind", ["A", "B", "V", "U"])
def test_plugins_of_other_kinds_are_asked_about_any_image(
    plugin: Callable[..., Plugin], loaded: Callable[..., Series], kind: str
) -> None:
    assert asked(plugin(kind), ct=loaded(testing.unmarked(phantom())))[1] == 1


@pytest.mark.parametrize("allowed", [False, True])
def test_a_refused_job_makes_no_object_and_the_story_says_why(
    plugin: Callable[..., Plugin], spool: Spool, tmp_path: Path, allowed: bool
) -> None:
    parts = tuple(map(Part10.of_file, testing.write(testing.unmarked(phantom()), tmp_path / "images")))
    (series,) = group_into_stacks(parts).series
    job = Job(
        id=1, study_uid=series.study_uid, revision=1, plugin="spleen", version="1", route="r", destinations=(),
        inputs=({"ct": series.key},), state=JobState.RUNNING, attempts=1, planned_at=1.0, ordinal=0, worker="",
        reason="", allow_demonstration=allowed,
    )  # fmt: skip
    order = Order(job=job, plugin=plugin(), parts=parts, predecessors=(), device_uid="2.25.1", inputs="")
    performed = flow.perform(order, spool, FakeTriton({"spleen": dict}), {})
    assert bool(performed.objects) is allowed
    assert [("demonstration network" in remark) for remark in performed.remarks] == [True] * (not allowed)
    assert bool(list(spool.objects.rglob("*.png"))) is allowed


def test_a_plugin_that_asks_a_demonstration_network_cannot_pass_for_more(
    plugin: Callable[..., Plugin], loaded: Callable[..., Series]
) -> None:
    class Demonstration(FakeTriton):
        def kind(self, model: str) -> str:
            assert model == "spleen"
            return "C"

    one = plugin("A")
    with pytest.raises(ModelRefused, match='plugin spleen is of kind "A", and its model spleen of kind "C"'):
        run(one, {"ct": loaded(phantom())}, Demonstration({"spleen": dict}))


def test_a_plugin_cannot_ask_a_model_that_it_does_not_declare(
    plugin: Callable[..., Plugin], loaded: Callable[..., Series]
) -> None:
    """Its kind and its version would be unknown: a demonstration could answer for a deterministic plugin."""
    triton = FakeTriton({"spleen": dict})
    with pytest.raises(ModelRefused, match="asks the model spleen, which its plugin"):
        run(plugin("A", more=""), {"ct": loaded(phantom())}, triton)
    assert not triton.calls


def test_no_model_is_loaded_for_a_demonstration_that_is_refused(
    plugin: Callable[..., Plugin], loaded: Callable[..., Series]
) -> None:
    made, acquired = {"ct": loaded(phantom())}, {"ct": loaded(testing.unmarked(phantom()), "acquired")}
    assert models_asked(plugin(), [acquired], allowed=False) == ()
    assert models_asked(plugin(), [acquired, made], allowed=False) == ("spleen",)
    assert models_asked(plugin(), [acquired], allowed=True) == ("spleen",)
    assert models_asked(plugin("A"), [acquired], allowed=False) == ("spleen",)


def test_weights_that_are_brought_are_validated_if_the_data_are_named_and_unknown_otherwise() -> None:
    assert tomllib.loads(kind_lines("")) == {"kind": "U"}
    assert tomllib.loads(kind_lines('LiTS, "131 CT"')) == {"kind": "V", "validated_on": 'LiTS, "131 CT"'}
    config = volume_config("spleen", Chain(), None, kind=kind_of_weights(""))
    assert kind_of(parsed(config, Path("config.pbtxt"))) == "U"


# The permission.


@pytest.fixture
def routes(plugin: Callable[..., Plugin], tmp_path: Path) -> Callable[..., Routes]:
    def read(*tables: str, test: Sequence[str] = ("TEST",)) -> Routes:
        path = tmp_path / "routes.toml"
        path.write_text(
            "\n".join(f"[[route]]\nwhen.Modality = 'CT'\nplugins = ['spleen']\n{table}" for table in tables)
        )
        return read_routes(
            path, plugins={"spleen": plugin()}, destinations=("PACS", "TEST"), quiet_seconds=1, test_destinations=test
        )

    return read


ALLOWING = "name = 'test'\nto = ['TEST']\nallow_demonstration = true"
PLAIN = "name = 'every CT'\nto = ['PACS']"


@pytest.mark.parametrize(("to", "test"), [("['TEST', 'PACS']", ["TEST"]), ("['TEST']", [])])
def test_a_route_that_allows_demonstrations_sends_to_test_destinations_alone(
    routes: Callable[..., Routes], to: str, test: list[str]
) -> None:
    with pytest.raises(ConfigError, match=r"route 'test' has allow_demonstration, and sends to .*: such a route"):
        routes(f"name = 'test'\nto = {to}\nallow_demonstration = true", test=test)


@pytest.mark.parametrize(
    ("tables", "allowed"), [([ALLOWING], True), ([PLAIN], False), ([ALLOWING, PLAIN], False)], ids=str
)
def test_a_job_may_ask_if_all_of_its_routes_allow_it(
    routes: Callable[..., Routes], loaded: Callable[..., Series], tables: list[str], allowed: bool
) -> None:
    series = loaded(phantom())
    checksums = {frame.sop_instance_uid: 0 for frame in series.frames}
    (planned,) = plan([series], routes(*tables), checksums).plans
    assert planned.allow_demonstration is allowed
    (other,) = plan([series], routes(PLAIN), checksums).plans
    assert (planned.digest != other.digest) is allowed, "the images are planned anew where the permission changes"


def test_the_ledger_keeps_the_permission_and_a_new_version_of_the_plugin_inherits_it(
    ledger: Ledger, routed: Callable[..., int], wanted: Callable[..., Plan]
) -> None:
    routed(replace(wanted("spleen"), allow_demonstration=True), wanted("liver"))
    assert {job.plugin: job.allow_demonstration for job in ledger.jobs.of("1.2.1")} == {"spleen": True, "liver": False}
    ledger.jobs.adopt({"spleen": "2", "liver": "2"})
    again = [job for job in ledger.jobs.of("1.2.1") if job.version == "2"]
    assert {job.plugin: job.allow_demonstration for job in again} == {"spleen": True, "liver": False}


def test_the_ledger_keeps_whether_a_job_reports_unsuitable_images(
    ledger: Ledger, routed: Callable[..., int], wanted: Callable[..., Plan]
) -> None:
    routed(replace(wanted("spleen"), report_not_suitable=True), wanted("liver"))
    assert {job.plugin: job.report_not_suitable for job in ledger.jobs.of("1.2.1")} == {"spleen": True, "liver": False}
    ledger.jobs.adopt({"spleen": "2", "liver": "2"})
    again = [job for job in ledger.jobs.of("1.2.1") if job.version == "2"]
    assert {job.plugin: job.report_not_suitable for job in again} == {"spleen": True, "liver": False}


# What a reader sees.


@pytest.fixture(scope="module", params=["CT", "MG"])
def demonstrated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Case, list[Dataset]]:
    folder = tmp_path_factory.mktemp("demonstrated")
    series = series_in(folder / "images", IMAGES[request.param](f"demonstrated {request.param}"))
    inputs = {"image": series}
    if request.param == "CT":
        moving = phantom(seed="moving", study_uid=series.study_uid)
        inputs["moving"] = series_in(folder / "moving", moving)
    identity = replace(identity_of(series), kind=Kind.DEMONSTRATION)
    case = Case(inputs=inputs, results=results_of(inputs), identity=identity)
    return case, [dataset for _, dataset in compose_by_kind(case, tuple({*SOP_CLASSES.values(), "DERIVED"}))]


def first_words(report: Dataset) -> str:
    """Return the first text of a report, as a reader sees it from the top."""
    return next(str(item.TextValue) for item in report.ContentSequence if item.ValueType == "TEXT")


def test_what_is_made_later_of_a_stored_page_says_so_too(
    spool: Spool, demonstrated: tuple[Case, list[Dataset]]
) -> None:
    case, _ = demonstrated
    job = Job(
        id=7, study_uid=case.identity.study_uid, revision=1, plugin="spleen", version="1", route="r", destinations=(),
        inputs=(), state=JobState.RUNNING, attempts=1, planned_at=1.0, ordinal=0, worker="", reason="",
    )  # fmt: skip
    store_page(spool, job, 0, b"", case)
    (page,) = stored_pages(spool, job.study_uid, job.id)
    assert page.identity == case.identity
    assert page.identity.is_demonstration


def test_every_object_of_a_demonstration_says_so(demonstrated: tuple[Case, list[Dataset]]) -> None:
    _, made = demonstrated
    assert len({dataset.SOPClassUID for dataset in made}) >= 7
    for dataset in made:
        assert dataset.SeriesDescription.startswith("DEMONSTRATION: "), dataset.SOPClassUID
        if "Rows" in dataset:
            assert ASCII in dataset.ImageComments, dataset.SOPClassUID
        if dataset.Modality == "SR" and dataset.SOPClassUID.name != "Mammography CAD SR Storage":
            assert first_words(dataset).startswith(ASCII)
        if dataset.Modality in ("KO", "RTSTRUCT") or "CAD" in dataset.SOPClassUID.name:
            assert ASCII in dataset.to_json(bulk_data_threshold=1, bulk_data_element_handler=lambda _: "")
        if "ContentDescription" in dataset:
            assert dataset.ContentDescription.startswith("DEMONSTRATION: ")


def test_it_is_burned_into_every_picture(demonstrated: tuple[Case, list[Dataset]]) -> None:
    case, made = demonstrated
    pictures = [
        dataset.pixel_array for dataset in made if dataset.SOPClassUID.name == "Secondary Capture Image Storage"
    ]
    with Image.open(BytesIO(draw_summary_page(case))) as page:
        pictures.append(np.asarray(page.convert("RGB")))
    assert len(pictures) >= 2
    for picture in pictures:
        warning = (picture == ALERT).all(axis=-1)
        assert warning[:60].sum() > 200, "no line of red letters at the top"


def test_the_pictures_of_another_kind_have_no_such_warning(demonstrated: tuple[Case, list[Dataset]]) -> None:
    case, _ = demonstrated
    other = replace(case, identity=replace(case.identity, kind=Kind.VALIDATED, validated_on="LiTS"))
    with Image.open(BytesIO(draw_summary_page(other))) as page:
        assert not (np.asarray(page.convert("RGB"))[:60] == ALERT).all(axis=-1).any()
    assert other.identity.notices[0] == "Network validated on LiTS."
    assert other.identity.series_description("SR") == "AI SR matrix 1.0.0 (validated, research)"
