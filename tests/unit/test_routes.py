"""Routes: what goes where and why, what jobs follow, and when a study is complete."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset

from node.errors import ConfigError, NotUnderstood
from node.host import Plugin, find_plugins
from node.images.frame import Frame
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import StudyStacks, group_into_stacks
from node.ledger import Ledger
from node.records import Arrival, StudyState
from node.route import Routes, plan, plan_due, read_routes
from node.spool import Spool
from node.testing import CORONAL, ct_series, mr_series, write

ROOT = Path(__file__).parents[2]

Read = Callable[[str], Routes]


def series(key: str = "1.2.1", *, images: int = 3, orientation: Any = (1, 0, 0, 0, 1, 0), **values: Any) -> Series:
    """A stack of single-frame images, with headers alone."""
    frames = []
    for number in range(1, images + 1):
        header = Dataset()
        header.SOPInstanceUID = f"{key.replace('#', '.')}.{number}"
        header.SeriesInstanceUID = key.partition("#")[0]
        for keyword, value in {"Modality": "CT", "SeriesNumber": 3, **values}.items():
            setattr(header, keyword, value)
        frames.append(Frame(image=SimpleNamespace(header=header, values=header), orientation=orientation))
    return Series(key=key, frames=tuple(frames), read=lambda _: ())


def checksums(*several: Series, changed: str = "") -> dict[str, int]:
    return {
        frame.sop_instance_uid: 2 if frame.sop_instance_uid == changed else 1
        for stack in several
        for frame in stack.frames
    }


@pytest.fixture
def plugins(tmp_path: Path) -> Mapping[str, Plugin]:
    """Three plugins: with one role, with two roles, and with one role and an optional role."""
    roles = {
        "spleen": {"ct": 'Modality = "CT"'},
        "fusion": {"ct": 'Modality = "CT"', "pt": 'Modality = "PT"'},
        "uptake": {"pt": 'Modality = "PT"', "ct": 'Modality = "CT"\noptional = true'},
    }
    for name, asked in roles.items():
        folder = tmp_path / "plugins" / name
        folder.mkdir(parents=True)
        tables = "".join(f"[series.{role}]\nwhen.{when}\n" for role, when in asked.items())
        (folder / "plugin.toml").write_text(f'name = "{name}"\nversion = "2"\ntitle = "{name}"\nkind = "A"\n{tables}')
        (folder / "plugin.py").write_text(f"def run({', '.join(asked)}, triton): ...\n")
    return find_plugins([tmp_path / "plugins"])


@pytest.fixture
def read(tmp_path: Path, plugins: Mapping[str, Plugin]) -> Read:
    def from_text(text: str) -> Routes:
        path = tmp_path / "routes.toml"
        path.write_text(text)
        return read_routes(path, plugins=plugins, destinations=("PACS", "ARCHIVE"), quiet_seconds=10)

    return from_text


def route(
    name: str = "every CT",
    *,
    when: str = 'when.Modality = "CT"',
    plugins: Sequence[str] = ("spleen",),
    to: Sequence[str] = ("PACS",),
    more: str = "",
) -> str:
    return f'[[route]]\nname = "{name}"\n{when}\nplugins = {list(plugins)}\nto = {list(to)}\n{more}\n'


def test_the_shipped_routes_load_and_send_every_ct_to_ct_lung() -> None:
    routes = read_routes(
        ROOT / "config" / "routes.toml",
        plugins=find_plugins([ROOT / "plugins"]),
        destinations=("PACS",),
        quiet_seconds=10,
    )
    planned = plan([series()], routes, checksums(series()))
    assert [(job.plugin, job.destinations) for job in planned.plans] == [("ct_lung", ("PACS",))]
    head = series(BodyPartExamined="HEAD", SliceThickness=9, SeriesDescription="Brain")
    assert plan([head], routes, checksums(head)).plans, "the plugin decides whether there is a chest in it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (route(plugins=["liver"]), "route 'every CT' names the plugin 'liver'; there are: fusion, spleen"),
        (route(to=["PAX"]), "route 'every CT' names the destination 'PAX'; there are: ARCHIVE, PACS"),
        (route() + route(), "two routes are called 'every CT'"),
        (route(more="prioritty = 1"), "unknown key route.0.prioritty"),
        (route(more="stable = { relased = true }"), "unknown key route.0.stable.relased"),
        (route(more='stable = { counted = "Images" }'), "route.0.stable.counted: Images is neither a DICOM keyword"),
        (route(when='when.Modalty = "CT"'), "route.0.when.Modalty: Modalty is neither a DICOM keyword nor one of"),
        (route(plugins=[]), "route.0.plugins: "),
        (route(to=[]), "route.0.to: "),
        (route(more="priority = 11"), "route.0.priority: "),
        ("[[routes]]\nname = 'x'", "unknown key routes"),
    ],
)
def test_a_route_that_cannot_work_is_reported_with_the_file(
    read: Read, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        read(text)
    assert str(error.value).startswith(f"{tmp_path / 'routes.toml'}: {message}")


def test_every_stack_and_route_has_its_sentence(read: Read) -> None:
    routes = read(
        route("thin", when="when.Modality = 'CT'\nwhen.SliceThickness = { at_most = 3.0 }")
        + route("lung", when='when.SeriesDescription = { matches = "(?i)lung" }', to=["PACS", "ARCHIVE"])
    )
    thick, other = series("1.2.1", SliceThickness=5), series("1.2.2", images=1, Modality="MR", SeriesNumber=None)
    planned = plan([thick, other], routes, checksums(thick, other))
    assert [(row.series_key, row.route, row.matched, row.sentence) for row in planned.decisions] == [
        ("1.2.1", "thin", False, "SliceThickness is 5, wanted at most 3"),
        ("1.2.1", "lung", False, "SeriesDescription is absent, wanted a match of (?i)lung"),
        ("1.2.2", "thin", False, "Modality is MR, wanted CT"),
        ("1.2.2", "lung", False, "SeriesDescription is absent, wanted a match of (?i)lung"),
    ]
    assert planned.plans == ()
    assert [decision.series_text for decision in planned.decisions[1:3]] == [
        "CT series 3, 3 images, axial",
        "MR series without number, 1 image, axial",
    ]


def test_a_match_says_where_images_and_results_go(read: Read) -> None:
    routes = read(route(to=["PACS", "ARCHIVE"]))
    (decision,) = plan([series()], routes, checksums(series())).decisions
    assert (decision.matched, decision.sentence) == (True, "matches; goes to spleen, results to PACS, ARCHIVE")


def test_a_plugin_of_one_role_runs_on_every_stack_that_is_routed_to_it(read: Read) -> None:
    both = [series("1.2.1"), series("1.2.1#2"), series("1.2.2", Modality="MR")]
    (made,) = plan(both, read(route()), checksums(*both)).plans
    assert made.inputs == ({"ct": "1.2.1"}, {"ct": "1.2.1#2"})
    assert (made.plugin, made.version, made.route, made.destinations) == ("spleen", "2", "every CT", ("PACS",))


def test_a_plugin_of_several_roles_runs_once_on_the_largest_stacks(read: Read) -> None:
    routes = read(route("pet", when='when.Modality = ["CT", "PT"]', plugins=["fusion"]))
    given = [
        series("1.2.1", images=1),
        series("1.2.2", images=5),
        series("1.2.3", images=2, Modality="PT"),
        series("1.2.4", images=9, Modality="PT"),
    ]
    (made,) = plan(given, routes, checksums(*given)).plans
    assert made.inputs == ({"ct": "1.2.2", "pt": "1.2.4"},)


def test_an_optional_role_has_the_largest_stack_of_the_same_place_at_every_run(read: Read) -> None:
    routes = read(route("pet", when='when.Modality = ["CT", "PT"]', plugins=["uptake"]))
    given = [
        series("1.2.1", images=9, FrameOfReferenceUID="1.9"),
        series("1.2.2", images=2, FrameOfReferenceUID="1.8"),
        series("1.2.3", images=3, FrameOfReferenceUID="1.8"),
        series("1.2.4", Modality="PT", FrameOfReferenceUID="1.8"),
        series("1.2.5", Modality="PT", FrameOfReferenceUID="1.8"),
    ]
    (made,) = plan(given, routes, checksums(*given)).plans
    assert made.inputs == ({"pt": "1.2.4", "ct": "1.2.3"}, {"pt": "1.2.5", "ct": "1.2.3"})


def test_a_series_for_an_optional_role_alone_plans_no_job(read: Read) -> None:
    routes = read(route("pet", when='when.Modality = ["CT", "MR", "PT"]', plugins=["uptake"]))
    planned = plan([series()], routes, checksums(series()))
    assert (planned.plans, planned.remarks) == ((), ())
    both = [series(), series("1.2.9", Modality="MR")]
    assert "no series for its role 'pt'" in plan(both, routes, checksums(*both)).remarks[0]


def test_a_role_without_a_series_is_reported_and_nothing_runs(read: Read) -> None:
    planned = plan([series()], read(route(plugins=["fusion"])), checksums(series()))
    assert planned.plans == ()
    assert planned.remarks == ("fusion does not run: no series for its role 'pt'; Modality is CT, wanted PT",)


def test_of_several_series_that_fit_no_role_each_kind_has_its_reason(read: Read) -> None:
    given = [series("1.2.1"), series("1.2.2", SeriesNumber=4), series("1.2.3", Modality="MR", SeriesNumber=5)]
    planned = plan(given, read(route(when="", plugins=["fusion"])), checksums(*given))
    (remark,) = planned.remarks
    assert remark == (
        "fusion does not run: no series for its role 'pt'; CT series 3, 3 images, axial and 1 more: "
        "Modality is CT, wanted PT; MR series 5, 3 images, axial: Modality is MR, wanted PT"
    )


def test_the_conditions_of_the_manifest_apply_beside_those_of_the_route(read: Read) -> None:
    mr = series(Modality="MR")
    planned = plan([mr], read(route(when="")), checksums(mr))
    assert planned.plans == ()
    assert planned.remarks == ("spleen does not run: no series for its role 'ct'; Modality is MR, wanted CT",)


def test_a_stack_is_wanted_by_a_route_whose_plugin_has_a_role_for_it(read: Read) -> None:
    ct, mr = series(), series(Modality="MR")
    assert [read(route(when="")).wants(stack) for stack in (ct, mr)] == [True, False]
    assert not read(route(when='when.Modality = "MR"')).wants(ct)
    assert not read("").wants(ct)


def test_two_routes_to_one_plugin_make_one_job_for_both_destinations(read: Read) -> None:
    routes = read(
        route("a", to=["PACS"], more="priority = 1")
        + route("b", to=["ARCHIVE", "PACS"], more="priority = 5")
        + route("c", when='when.Modality = "MR"', to=["ARCHIVE"], more="priority = 9")
    )
    (made,) = plan([series()], routes, checksums(series())).plans
    assert (made.route, made.destinations, made.priority) == ("a, b", ("PACS", "ARCHIVE"), 5)


def test_several_plugins_make_a_job_each(read: Read) -> None:
    given = [series(), series("1.2.2", Modality="PT")]
    routes = read(route(when="", plugins=["spleen", "fusion"]))
    assert [job.plugin for job in plan(given, routes, checksums(*given)).plans] == ["spleen", "fusion"]


def test_warnings_of_a_stack_are_remarks(read: Read) -> None:
    odd = series()
    odd = Series(key=odd.key, frames=odd.frames, read=odd.read, warnings=("one slice lies askew",))
    assert plan([odd], read(route()), checksums(odd)).remarks == ("1.2.1: one slice lies askew",)


def assembled(images: Sequence[Dataset], folder: Path) -> StudyStacks:
    return group_into_stacks(Part10.of_file(path) for path in write(images, folder))


def test_a_digest_is_the_same_for_the_same_images_in_whatever_order_they_came(read: Read, tmp_path: Path) -> None:
    images = [*ct_series(slices=4), *ct_series(slices=3, series="2", orientation=CORONAL), *mr_series(slices=2)]
    sums = {str(image.SOPInstanceUID): 1 for image in images}
    digests = {
        plan(assembled(some, tmp_path).series, read(route()), sums).plans[0].digest
        for some in (images, images[::-1], images[5:] + images[:5])
    }
    assert len(digests) == 1


def test_a_digest_is_another_for_other_bytes_more_images_or_another_role(read: Read) -> None:
    routes = read(route())
    first, second = series(), series("1.2.2")

    def digest(given: Sequence[Series], sums: Mapping[str, int]) -> str:
        return plan(given, routes, sums).plans[0].digest

    same = digest([first], checksums(first))
    assert digest([series()], checksums(first)) == same
    assert digest([first, series("1.2.9", Modality="MR")], checksums(first, series("1.2.9"))) == same, (
        "not its business"
    )
    assert digest([first], checksums(first, changed=first.frames[1].sop_instance_uid)) != same
    assert digest([series(images=4)], checksums(series(images=4))) != same
    assert digest([first, second], checksums(first, second)) != same


# When a study is complete.


def waits(routes: Routes, *arrived: Series, released: bool = False) -> tuple[float, str]:
    patience = routes.patience(arrived, released=released)
    return patience.seconds, patience.because


QUIET = (10, "nothing came for 10 s")


def test_without_evidence_a_study_waits_for_quiet(read: Read) -> None:
    assert waits(read(route()), series(), released=True) == QUIET


def test_a_study_that_no_route_asks_for_waits_for_quiet(read: Read) -> None:
    routes = read(route(more="stable = { released = true }"))
    assert waits(routes, series(Modality="MR"), released=True) == QUIET
    assert waits(routes, released=True) == QUIET


def test_released_associations_are_evidence(read: Read) -> None:
    routes = read(route(more="stable = { released = true, quiet_seconds = 2 }"))
    assert waits(routes, series(), released=False) == QUIET
    assert waits(routes, series(), released=True) == (
        2,
        "route 'every CT' has its series: its associations are released",
    )


def test_as_many_images_as_the_header_counts_are_evidence(read: Read) -> None:
    routes = read(route(more='stable = { counted = "ImagesInAcquisition" }'))
    assert waits(routes, series(images=3)) == QUIET, "no count in the header"
    assert waits(routes, series(images=3, ImagesInAcquisition="4")) == QUIET
    assert waits(routes, series(images=3, ImagesInAcquisition="0")) == QUIET
    assert waits(routes, series(images=4, ImagesInAcquisition="4")) == (
        1,
        "route 'every CT' has its series: 4 of 4 images",
    )


def test_every_matching_series_has_to_be_complete(read: Read) -> None:
    routes = read(route(more='stable = { counted = "ImagesInAcquisition" }'))
    full, half = series(images=4, ImagesInAcquisition=4), series("1.2.2", images=2, ImagesInAcquisition=4)
    assert waits(routes, full, half) == QUIET


def test_both_kinds_of_evidence_are_asked_for_together(read: Read) -> None:
    routes = read(route(more='stable = { counted = "ImagesInAcquisition", released = true }'))
    full = series(images=4, ImagesInAcquisition=4)
    assert waits(routes, full, released=False) == QUIET
    assert waits(routes, full, released=True)[0] == 1
    assert waits(routes, series(ImagesInAcquisition=4), released=True) == QUIET


def test_every_role_of_a_plugin_has_to_have_its_series(read: Read) -> None:
    routes = read(route("pet", when="", plugins=["fusion"], more="stable = { released = true }"))
    assert waits(routes, series(), released=True) == QUIET
    assert waits(routes, series(), series("1.2.2", Modality="PT"), released=True)[0] == 1


def test_every_route_that_asks_for_something_has_to_be_satisfied_and_the_longest_counts(read: Read) -> None:
    ct = route("ct", more="stable = { released = true, quiet_seconds = 2 }")
    mr = route("mr", when='when.Modality = "MR"', more="stable = { released = true, quiet_seconds = 3 }")
    assert waits(read(ct + route("b")), series(), released=True) == QUIET, "the other route has no evidence"
    routes = read(ct + mr)
    assert waits(routes, series(), released=True)[0] == 2, "nobody asks the MR route"


def test_evidence_never_makes_a_study_wait_longer_than_quiet_does(read: Read) -> None:
    routes = read(route(more="stable = { released = true, quiet_seconds = 60 }"))
    assert waits(routes, series(), released=True)[0] == 10


# Planning what is due.


def test_a_study_that_cannot_be_read_is_parked_with_the_reason(
    read: Read, ledger: Ledger, spool: Spool, arrival: Callable[..., Arrival], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_parts: object) -> StudyStacks:
        raise NotUnderstood("instance 1.2 is torn")

    for number, study in enumerate(("1.2.1", "1.2.2")):
        ledger.instances.record([arrival(number, study=study)])
        seen = ledger.studies.find(study)
        assert seen is not None
        ledger.studies.settle(seen, "")
    monkeypatch.setattr("node.route.planning.group_into_stacks", unreadable)
    plan_due(ledger.studies, ledger.instances, spool, read(route()))
    assert ledger.queries.parked() == [(study, "study", "instance 1.2 is torn") for study in ("1.2.1", "1.2.2")]


def test_a_stable_study_is_planned_once_with_its_sentences(
    read: Read, ledger: Ledger, spool: Spool, arrival: Callable[..., Arrival], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.instances.record([arrival(1)])
    seen = ledger.studies.find("1.2.1")
    assert seen is not None
    ledger.studies.settle(seen, "")
    stack = series("1.2.1.1", images=1)
    stack.header.SOPInstanceUID = arrival(1).instance.sop_instance_uid
    found = StudyStacks(series=(stack,), set_aside=(("1.2.1.8", "it has no pixel data"),))
    monkeypatch.setattr(spool, "holds", lambda *_: True)
    monkeypatch.setattr("node.route.planning.group_into_stacks", lambda _parts: found)
    for _ in range(2):
        plan_due(ledger.studies, ledger.instances, spool, read(route()))
    (job,) = ledger.jobs.of("1.2.1")
    assert job.inputs == ({"ct": "1.2.1.1"},)
    routed = ledger.studies.find("1.2.1")
    assert routed is not None
    assert routed.state is StudyState.ROUTED
    assert [decision.sentence for decision in ledger.queries.decisions(routed)] == [
        "matches; goes to spleen, results to PACS"
    ]
    events = [(event.name, event.detail) for _, event in ledger.events.read("1.2.1")]
    assert ("instance.aside", "instance 1.2.1.8: it has no pixel data") in events
