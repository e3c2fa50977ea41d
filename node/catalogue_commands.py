"""The commands of public models, `isocenter model search`, `show`, `get` and `remove`: their arguments and output."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.command_options import (
    DEFAULT,
    AsJson,
    ConfigFile,
    fail,
    is_quiet,
    print_json,
    print_table,
    reported_errors,
)
from node.exit_codes import NOTHING

if TYPE_CHECKING:
    from node.models.catalogue import Entry
    from node.models.get import ModelPlaces

DOWNLOADS = "model_downloads"
"""The folder beside the model repository that keeps what was downloaded."""
Name = Annotated[str, typer.Argument(help="A name that isocenter model search lists.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to `isocenter model`."""
    app.command("search")(search_models)
    app.command("show")(show_model)
    app.command("get")(get_model)
    app.command("remove")(remove_model)


def search_models(
    text: Annotated[str, typer.Argument(help="Words of what it is for; without any, all are listed.")] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Search the catalogue of public models."""
    from node.models.catalogue import search

    with reported_errors():
        found = [_row(entry) for entry in search(text)]
    if as_json:
        print_json(found)
    elif found:
        print_table(found, ["name", "modality", "licence", "commercial", "served", "tried", "for"])
    if not found:
        fail(f"the catalogue has nothing for {text!r}; isocenter model search lists all", NOTHING)


def _row(entry: "Entry") -> dict[str, Any]:
    return {
        "name": entry.name,
        "modality": entry.use.modality,
        "licence": entry.licence.name,
        "commercial": entry.licence.commercial,
        "served": "no" if entry.missing else "yes",
        "tried": "yes" if entry.tried else "no",
        "for": entry.use.text,
    }


def show_model(name: Name, *, as_json: AsJson = False) -> None:
    """Show what the catalogue says of a model, and where each fact is stated."""
    from node.models.catalogue import entry_of

    with reported_errors():
        entry = entry_of(name)
    if as_json:
        print_json(entry.model_dump(mode="json"))
        return
    for line in _lines(entry):
        typer.echo(line)


def _lines(entry: "Entry") -> list[str]:
    licence = entry.licence
    note = f" ({licence.note})" if licence.note else ""
    lines = [
        f"{entry.name} {entry.version}: {entry.use.text} [{entry.use.source}]",
        f"licence: {licence.name}, commercial use: {licence.commercial}{note} [{licence.source}]",
        *(f"published: {figure.text}, on {figure.on} [{figure.source}]" for figure in entry.figure),
    ]
    if entry.validated:
        lines.append(f"validated on: {entry.validated.on} [{entry.validated.source}]")
    if entry.paper:
        lines.append(f"paper: {entry.paper}")
    for each in entry.download:
        where = each.url or f"not to be downloaded by itself: {each.how}"
        lines.append(f"file: {where}, {each.checksum or 'no checksum is stated'} [{each.source}]")
    lines += [f"plugins: {', '.join(entry.plugins)}"] if not entry.missing else [f"not served yet: {entry.missing}"]
    lines.append(f"with its real weights: {entry.tried or 'not tried'}")
    return lines + list(entry.remarks)


def get_model(
    name: Name,
    given: Annotated[
        Path | None, typer.Option("--from", help="A file, or a folder with the files: nothing is downloaded.")
    ] = None,
    accept_sha256: Annotated[
        list[str] | None, typer.Option(help="The SHA-256 of a file whose publisher states none; may be repeated.")
    ] = None,
    *,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence of the weights.")
    ] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Let code that comes with the model run, confined.")] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Get a public model: download it, check it, and make a Triton model and a plugin of it."""
    from node.engine import preload_children
    from node.models.add import add
    from node.models.catalogue import entry_of
    from node.models.get import get

    def agree(question: str) -> bool:
        if accept_licence and question.endswith("accept it?"):
            return True
        return sys.stdin.isatty() and typer.confirm(question, err=True)

    with reported_errors():
        entry = entry_of(name)
        places = _places(config)
        places.downloads.mkdir(parents=True, exist_ok=True)
        preload_children(sys.modules[add.__module__])
        made = get(
            entry, places, given=given, agree=agree, sums=accept_sha256 or (), trust=trust, progress=_progress
        )  # fmt: skip
    for each in made:
        phantom = "" if each.likeness is None else f"; a phantom came back with a Dice of {each.likeness:.3f}"
        typer.echo(f"{each.kind}, {each.classes} classes{phantom}")
        for folder in each.folders:
            typer.echo(folder)
    typer.echo(f"name it in a route, and try it: isocenter plugin try {entry.plugins[0]} FOLDER")


def _progress(here: int, whole: int) -> None:
    """Show on a terminal how much of a file is here."""
    if sys.stderr.isatty() and not is_quiet():
        part = f" of {whole:,} bytes, {100 * here // whole} %" if whole else " bytes"
        typer.echo(f"\r{here:,}{part}", err=True, nl=here == whole)


def remove_model(
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Remove what model get has made and downloaded."""
    from node.models.download import remove
    from node.models.get import removable

    with reported_errors():
        folders = removable(name, _places(config))
        for folder in folders:
            typer.echo(folder)
        if not yes and not (sys.stdin.isatty() and typer.confirm("Remove these folders?", err=True)):
            fail("nothing was removed: say --yes")
        remove(*folders)


def _places(config: Path) -> "ModelPlaces":
    from node.models.get import ModelPlaces
    from node.settings import Settings

    settings = Settings.read(config)
    repository = settings.triton.model_repository
    return ModelPlaces(models=repository, plugins=settings.plugins[0], downloads=repository.parent / DOWNLOADS)
