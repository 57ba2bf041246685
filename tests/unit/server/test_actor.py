"""Permission checks alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegrid.domain.actor import (
    GRANTS,
    Actor,
    Permission,
    Role,
    may,
    may_change_job,
    may_give_role,
    narrowed,
    require_org,
    sees,
)
from tidegrid.domain.errors import Forbidden, InvalidInput, NotFound

actors = st.builds(
    Actor, org_id=st.integers(1, 3), user_id=st.integers(1, 3), org=st.just("o"), user=st.just("u"),
    role=st.sampled_from([*Role, "nothing"]), scopes=st.frozensets(st.sampled_from([*(p.value for p in Permission), "other"])),
)  # fmt: skip


@given(actors, st.integers(1, 3))
def test_only_operators_see_beyond_their_organisation(actor: Actor, org: int) -> None:
    assert sees(actor, org) == (actor.org_id == org or actor.role == Role.OPERATOR)
    if not sees(actor, org):
        with pytest.raises(NotFound):
            require_org(actor, org, "job")
        assert not may_change_job(actor, org, actor.user_id)


@given(actors)
def test_scopes_only_narrow(actor: Actor) -> None:
    granted = GRANTS.get(Role(actor.role), frozenset()) if actor.role in set(Role) else frozenset()
    assert actor.permissions <= granted
    if actor.scopes:
        assert {p.value for p in actor.permissions} <= actor.scopes


@given(actors, st.sampled_from(list(Role)), st.lists(st.sampled_from([p.value for p in Permission]), max_size=4))
def test_a_token_never_holds_more_than_its_maker(actor: Actor, role: Role, scopes: list[str]) -> None:
    try:
        given_scopes = narrowed(actor, role, scopes)
    except (Forbidden, InvalidInput):
        return
    child = Actor(actor.org_id, 9, "o", "child", role, given_scopes)
    assert child.permissions <= actor.permissions


@given(actors, st.sampled_from(list(Role)))
def test_nobody_gives_a_role_above_his_own(actor: Actor, role: Role) -> None:
    assert may_give_role(actor, role) == (GRANTS[role] <= actor.permissions)


def test_an_auditor_changes_nothing() -> None:
    auditor = Actor(1, 1, "o", "u", Role.AUDITOR)
    assert may(auditor, Permission.USAGE_READ)
    assert not any(may(auditor, p) for p in Permission if p.value.endswith(":write"))
