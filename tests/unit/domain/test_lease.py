"""The lease step: what a server may take, extend and give up, and what its share is."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tidegrid.domain.lease import Lease, Server, cluster_of, cluster_role, give_up, renew, share, take

LENGTH = 100
NAMES = ["a", "b", "c"]


def test_a_running_lease_is_nobody_elses() -> None:
    mine = take(Lease("r"), "a", 0, LENGTH)
    assert mine == Lease("r", "a", 1, LENGTH)
    assert take(mine, "b", LENGTH - 1, LENGTH) is None
    assert take(mine, "b", LENGTH, LENGTH) == Lease("r", "b", 2, 2 * LENGTH)


def test_what_ran_out_is_not_extended_but_taken_anew() -> None:
    mine = Lease("r", "a", 1, LENGTH)
    assert renew(mine, "a", 1, LENGTH - 1, LENGTH) == replace(mine, expires_at=2 * LENGTH - 1)
    assert renew(mine, "a", 1, LENGTH, LENGTH) is None
    again = take(mine, "a", LENGTH, LENGTH)
    assert again is not None and again.token == 2


def test_what_was_given_up_is_free_at_once_and_keeps_its_token() -> None:
    left = give_up(Lease("r", "a", 7, LENGTH), "a", 7, 5)
    assert left == Lease("r", "", 7, 5)
    assert take(left, "b", 5, LENGTH) == Lease("r", "b", 8, 5 + LENGTH)
    assert give_up(Lease("r", "b", 8, LENGTH), "a", 7, 5) is None, "another has it by now"


_acts = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["take", "renew", "give", "stale"]), st.integers(0, 150)))


@given(_acts)
def test_one_holder_at_a_time_and_tokens_only_grow(acts: list[tuple[str, str, int]]) -> None:
    lease, now = Lease("r"), 0
    known: dict[str, int] = {}  # what each server believes its token to be, however long it slept
    for server, act, later in acts:
        now += later
        before = lease
        token = known.get(server, 0)
        if act == "take" and (got := take(lease, server, now, LENGTH)):
            assert not before.held(now)
            lease, known[server] = got, got.token
        elif act == "renew" and (got := renew(lease, server, token, now, LENGTH)):
            assert before.holder == server and before.token == token and before.held(now)
            lease = got
        elif act == "give" and (got := give_up(lease, server, token, now)):
            assert before.holder == server
            lease = got
        elif act == "stale":
            assert renew(lease, server, token - 1, now, LENGTH) is None
        assert lease.token >= before.token
        if lease.holder != before.holder and lease.holder:
            assert lease.token == before.token + 1
        assert sum(t == lease.token for s, t in known.items() if s == lease.holder) <= 1


_roles = st.lists(st.sampled_from([f"cluster:{i}" for i in range(8)]), unique=True)
_servers = st.lists(
    st.builds(Server, st.sampled_from(NAMES), st.frozensets(st.sampled_from([f"cluster:{i}" for i in range(8)]))),
    unique_by=lambda s: s.name,
)
_leases = st.lists(
    st.builds(Lease, st.sampled_from([f"cluster:{i}" for i in range(8)]), st.sampled_from(["", *NAMES, "dead"]),
              st.integers(0, 5), st.integers(0, 20)),
    unique_by=lambda x: x.role,
)  # fmt: skip


@given(_roles, _leases, _servers)
def test_the_share_is_able_stable_and_even(roles: list[str], leases: list[Lease], servers: list[Server]) -> None:
    now = 10
    ideal = share(roles, leases, servers, now)
    able = {s.name: s.able for s in servers}
    holder = {x.role: x.holder for x in leases if x.held(now)}
    assert all(role in able[name] for role, name in ideal.items())
    for role in roles:
        could = [s for s in able if role in able[s]]
        alive = holder.get(role)
        assert (role in ideal) == bool(could and (alive is None or alive in could)), "nobody waits for a role it could take"
    count = {name: sum(n == name for n in ideal.values()) for name in able}
    for role, name in ideal.items():
        for other in able:
            if role in able[other]:
                assert count[name] - count[other] <= 1, "moving one would even it out"
    # where everybody holds what it ought to, nothing moves
    settled = [Lease(r, n, 1, now + 1) for r, n in ideal.items()]
    assert share(ideal, settled, servers, now) == ideal


def test_three_clusters_and_two_servers_settle_at_two_and_one() -> None:
    roles = [cluster_role(c) for c in ("x", "y", "z")]
    every = frozenset(roles)
    alone = share(roles, [], [Server("a", every)], 0)
    assert set(alone.values()) == {"a"}
    held = [Lease(r, "a", 1, 10) for r in roles]
    two = share(roles, held, [Server("a", every), Server("b", every)], 0)
    assert sorted(two.values()) == ["a", "a", "b"]
    assert [cluster_of(r) for r, n in two.items() if n == "b"] == ["z"]
