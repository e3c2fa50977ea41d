"""The catalogue of public models: one TOML file for each, with facts alone, each with the page that states it."""

from node.models.catalogue.entry import UNKNOWN_SUM, Checksum, Download, Entry
from node.models.catalogue.reading import entries, entry_of, search

__all__ = ["UNKNOWN_SUM", "Checksum", "Download", "Entry", "entries", "entry_of", "search"]
