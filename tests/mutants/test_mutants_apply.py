"""Every planted mistake still fits the source; that tests notice it is `make mutants`' business."""

import pytest

from tests.mutants.__main__ import check_applies
from tests.mutants.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_mutant_applies(mutant: Mutant) -> None:
    check_applies(mutant)
    assert mutant.old != mutant.new
    assert mutant.tests


def test_every_mutant_has_a_name_of_its_own() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)
