"""The singular of an English plural, for the names of tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["singular"]

# Irregular words, also at the end of another word: salesmen, grandchildren, bookshelves.
_IRREGULAR: Final[Mapping[str, str]] = {
    "analyses": "analysis", "bases": "base", "calves": "calf", "children": "child", "crises": "crisis",
    "criteria": "criterion", "diagnoses": "diagnosis", "elves": "elf", "feet": "foot", "geese": "goose",
    "halves": "half", "hypotheses": "hypothesis", "indices": "index", "knives": "knife", "leaves": "leaf",
    "loaves": "loaf", "matrices": "matrix", "men": "man", "mice": "mouse", "oxen": "ox", "people": "person",
    "phenomena": "phenomenon", "quizzes": "quiz", "scarves": "scarf", "selves": "self", "shelves": "shelf",
    "synopses": "synopsis", "teeth": "tooth", "theses": "thesis", "thieves": "thief", "vertices": "vertex",
    "wives": "wife", "wolves": "wolf",
}  # fmt: skip
# Words whose singular ends in "e"; the endings below would strip it.
_WITH_E: Final = frozenset({
    "aches", "axes", "axles", "caches", "calories", "cliches", "cookies", "excuses", "fuses", "headaches", "lies",
    "movies", "muses", "mustaches", "neckties", "niches", "pies", "quiches", "refuses", "reuses", "rookies", "selfies",
    "ties", "uses", "zombies",
})  # fmt: skip
_NO_PLURAL: Final = frozenset(
    {"abdomen", "acumen", "bitumen", "lumen", "omen", "pumice", "regimen", "specimen", "stamen"}
)
_ENDINGS: Final = (
    ("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("zzes", "zz"), ("iases", "ias"),
    ("canvases", "canvas"), ("yses", "ysis"), ("gases", "gas"), ("lenses", "lens"), ("atlases", "atlas"),
    ("heroes", "hero"), ("echoes", "echo"), ("vetoes", "veto"), ("otatoes", "otato"), ("omatoes", "omato"),
    ("ouses", "ouse"), ("auses", "ause"), ("uses", "us"), ("s", ""),
)  # fmt: skip


def singular(word: str) -> str:
    """Return the singular of a plural word; the word itself if it does not have a plural ending."""
    if word in _NO_PLURAL:
        return word
    for plural, one in _IRREGULAR.items():
        if word.endswith(plural):
            return word.removesuffix(plural) + one
    if word in _WITH_E:
        return word[:-1]
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) >= len(ending):
            return word.removesuffix(ending) + instead
    return word
