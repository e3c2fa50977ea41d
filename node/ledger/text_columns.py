"""Columns of text that hold the same on every database: the same characters, in the same order."""

import sqlalchemy
from sqlalchemy import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine


class String(TypeDecorator[str]):
    """A short text, ordered by its code points whatever the server's language is."""

    impl = sqlalchemy.String
    cache_ok = True
    kind: type[sqlalchemy.String] = sqlalchemy.String

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """Return the type as a database has it."""
        collation = "C" if dialect.name == "postgresql" else None
        return dialect.type_descriptor(self.kind(self.length, collation=collation))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return a text as every database takes it: PostgreSQL has no U+0000, and UTF-8 no lone surrogates."""
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


class Text(String):
    """A text of any length."""

    impl = sqlalchemy.Text
    cache_ok = True
    kind = sqlalchemy.Text
