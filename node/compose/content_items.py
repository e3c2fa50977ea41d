"""Content items of structured reports (PS3.3 C.17.3) as plain data sets, for templates that highdicom lacks."""

from collections.abc import Iterator, Sequence

from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom.dataset import Dataset

from node.codes import Code
from node.compose.ascii_text import concept


def bare(item: Dataset, content: Sequence[Dataset] = ()) -> Dataset:
    """Return a content item that may hold items of any kind; those of highdicom hold only items of highdicom."""
    plain = Dataset()
    plain.update({element.tag: element for element in item})
    if content:
        plain.ContentSequence = list(content)
    return plain


def container(
    name: Code, content: Sequence[Dataset], relation: Relationship | None = None, *, template: str | None = None
) -> Dataset:
    """Return a container of separate items; with a template it is the root of a document."""
    made = sr.ContainerContentItem(
        concept(name), is_content_continuous=False, template_id=template, relationship_type=relation
    )
    return bare(made, content)


def code(name: Code, value: Code, relation: Relationship, content: Sequence[Dataset] = ()) -> Dataset:
    """Return a code item with its content."""
    return bare(sr.CodeContentItem(concept(name), concept(value), relation), content)


def walk(item: Dataset) -> Iterator[Dataset]:
    """Yield a content item, or a whole report, and all items below it."""
    yield item
    for below in item.get("ContentSequence") or ():
        yield from walk(below)
