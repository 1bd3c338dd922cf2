"""The page about the columns is made from the schema, has them all, and is not stale."""

from pathlib import Path

from results.record.schema import COLUMN, COLUMNS, DERIVED
from results.show.columns import FORMULAS, GROUPS, columns_of, page

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_page_is_not_stale():
    told = "docs/reading-the-numbers.md is stale: samestep columns > docs/reading-the-numbers.md"
    assert (DOCS / "reading-the-numbers.md").read_text() == page(), told


def test_every_column_is_in_one_group():
    grouped = [name for group in GROUPS for name in columns_of(group)]
    assert grouped == [column.name for column in COLUMNS], "move the column, or the ends of a group in GROUPS"


def test_formulas_are_of_columns():
    assert [name for name in FORMULAS if name not in COLUMN] == []


def test_every_derived_share_has_its_formula():
    assert [name for name in DERIVED if name.endswith(("mfu", "utilisation")) and name not in FORMULAS] == []
