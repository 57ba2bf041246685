"""A proposal is a network file as soon as people have filled in what only they know."""

from __future__ import annotations

import pytest

from tidegrid.catalog import network
from tidegrid.catalog.proposal import Offered, Proposal, a_name, insert, propose
from tidegrid.domain.errors import Conflict, InvalidInput

CONNECTOR = {
    "kind": "slurm", "host": "login.example.org", "port": 2222, "user": "tide", "identity": "alpha-key",
    "host_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="], "root": "/scratch/tide/tidegrid", "account": "0815",
}  # fmt: skip
PARTITIONS = (
    Offered("amd_256", "x86_64", 4, 64, 256_000, 172_800, remarks=("also: 2 nodes of 32 cores",)),
    Offered("GPU", "x86_64", 2, 64, 512_000, 5400, 4, "a100"),
    Offered("vip", "x86_64", 1, 64, 512_000, barred="only groups vip may use it"),
)


def proposal(name: str = "alpha") -> Proposal:
    return propose(name, CONNECTOR, PARTITIONS, header=("Found today.",), time_zone="Asia/Shanghai")


def filled(text: str) -> str:
    return (
        text.replace("region: FILL IN", "region: cn-east")
        .replace("supply: FILL IN", "supply: {kind: co_built, marginal_core_hour: 0.02, marginal_gpu_hour: 1}")
        .replace("prices: FILL IN", "prices: {core_hour: 0.1, gpu_hour: 4}")
    )


def test_what_people_have_to_fill_in_is_named_with_its_line() -> None:
    text = proposal().document()
    with pytest.raises(InvalidInput) as refused:
        network.parse(text)
    problems = {p["path"]: (p["line"], p["message"]) for p in refused.value.details["problems"]}
    assert set(problems) == {"sites.alpha-hall.region", "clusters.alpha.supply", "clusters.alpha.prices"}
    assert {m for _, m in problems.values()} == {"is still to be filled in"}
    lines = text.splitlines()
    assert all("FILL IN" in lines[line - 1] for line, _ in problems.values())


def test_filled_in_it_is_a_network() -> None:
    found = network.parse(filled(proposal().document()))
    (cluster,) = found.clusters
    assert cluster.settings == {k: v for k, v in CONNECTOR.items() if k != "kind"} | {"environment": "clean"}
    assert {p.name: (p.nodes, p.cores, p.memory_mib, p.max_wall_s, p.gpus, p.gpu_type) for p in cluster.partitions} == {
        "amd_256": (4, 64, 256_000, 172_800, 0, ""), "GPU": (2, 64, 512_000, 5400, 4, "a100"),
    }  # fmt: skip


def test_gpus_without_a_type_need_a_name_from_people() -> None:
    text = propose("a", CONNECTOR, [Offered("gpu", "x86_64", 1, 8, 1000, gpus=2)], time_zone="UTC").document()
    with pytest.raises(InvalidInput, match=r"gpu_type: is still to be filled in"):
        network.parse(filled(text))


@pytest.mark.parametrize("indent", ["  ", "    "])
def test_it_goes_into_a_file_that_is_there_and_leaves_the_rest_alone(indent: str) -> None:
    # comments, order and form of what stands there stay
    old = filled(proposal("alpha").document()).replace("\n  alpha", f"\n{indent}alpha")
    if indent != "  ":
        head, _, body = old.partition("clusters:\n")
        old = head + "clusters:\n" + "".join(f"{'' if x.startswith(indent + 'alpha') else '  '}{x}\n" for x in body.splitlines())
    old += "# mine\naccounts:\n  acme: {opening_balance: 1}"
    new = filled(insert(old, proposal("beta")))
    assert {c.name for c in network.parse(new).clusters} == {"alpha", "beta"}
    assert [x for x in new.splitlines() if x not in proposal("beta").document().splitlines()][-2:] == old.splitlines()[-2:]
    assert set(old.splitlines()) <= set(new.splitlines())
    with pytest.raises(Conflict) as taken:
        insert(old, proposal("alpha"))
    assert taken.value.code == "network.has_cluster"


def test_what_is_no_network_file_is_left_alone() -> None:
    for text in ("", "- a\n", "clusters: {a: {}}\nproviders: {b: {}}\nsites: {c: {}}\n", "clusters:\n"):
        with pytest.raises(InvalidInput):
            insert(text, proposal())
    assert "clusters:\n  alpha:\n" in insert("network: mine\n", proposal())


def test_names_that_slurm_gives_become_names_of_the_file() -> None:
    assert [a_name(x) for x in ("Alpha_1", "login.example.org", "__", "-x-")] == ["alpha-1", "login-example-org", "cluster", "x"]
