"""Each guard that PostgreSQL has for us is needed: without it, what it forbids comes to pass, and is seen (SPEC §5)."""

from __future__ import annotations

from typing import Final

import pytest

from tests.mutants.attempts import ATTEMPTS
from tests.mutants.guards import guards, without

pytestmark = [pytest.mark.django_db, pytest.mark.rule("SPEC §5")]

WITHOUT_A_MUTANT: Final = {
    "workspaces_enabled_key": "wsid alone is unique; tasks_live_in_enabled_workspace cannot be without it",
    "snapshots_live_key": "snapshot_id alone is unique; the two foreign keys to live snapshots cannot be without it",
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_with_the_guard_what_it_forbids_does_not_come_to_pass(name: str) -> None:
    guarded = ATTEMPTS[name]
    with without(*guarded.beside):
        guarded.attempt()


@pytest.mark.parametrize("name", ATTEMPTS)
def test_without_the_guard_it_is_seen_to_come_to_pass(name: str) -> None:
    guarded = ATTEMPTS[name]
    with without(name, *guarded.beside), pytest.raises(AssertionError):
        guarded.attempt()


def test_every_constraint_unique_index_and_trigger_of_our_tables_has_a_mutant_or_a_reason() -> None:
    assert set(guards()) == set(ATTEMPTS) | set(WITHOUT_A_MUTANT)


def test_a_guard_that_was_taken_away_is_there_again_afterwards() -> None:
    before = guards()
    with without(*ATTEMPTS):
        assert set(guards()) <= set(WITHOUT_A_MUTANT)
    assert guards() == before
