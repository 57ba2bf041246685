"""The network file: what it says, and every fault in it by line and column."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegrid.catalog import network, quantities
from tidegrid.domain.errors import InvalidInput

GOOD = """\
network: demo
providers:
  tide: {title: The operator}
  partner: {title: A partner}
sites:
  east: {provider: tide, region: cn-east, time_zone: Asia/Shanghai, position: {lat: 31.2, lon: 121.5}}
  west: {provider: partner, region: cn-west, time_zone: Asia/Shanghai}
clusters:
  east-a:
    site: east
    connector: {kind: embedded, speed: 2}
    software: {lmp: /usr/bin/lmp}
    supply: {kind: co_built, marginal_core_hour: 0.02, capital: 1000000, depreciation_years: 5,
             idc_cost_per_month: 20000, commissioned: 2025-01-01}
    prices: {core_hour: 0.10, memory_gib_hour: 0.01}
    partitions:
      cpu: {arch: x86_64, cpu_model: EPYC, nodes: 2, cores: 4, memory: 8 GiB, max_wall: 24:00:00, interconnect: IB}
  west-b:
    site: west
    connector: {kind: embedded}
    partitions:
      gpu:
        arch: aarch64
        nodes: 1
        cores: 8
        memory: 65536
        gpus: 2
        gpu_type: a100
        supply: {kind: purchased, core_hour: 0.08, gpu_hour: 4, cap_core_hours: 10000, minimum_per_month: 500}
        prices: {core_hour: 0.12345678, gpu_hour: 6}
accounts:
  acme: {projects: [default, wave], opening_balance: 1000.50}
"""


def problems(text: str) -> list[dict[str, object]]:
    with pytest.raises(InvalidInput) as e:
        network.parse(text)
    assert e.value.code == "network.invalid"
    found: list[dict[str, object]] = e.value.details["problems"]
    return found


def test_a_file_becomes_a_network() -> None:
    net = network.parse(GOOD)
    cpu = net.clusters[0].partitions[0]
    assert (cpu.memory_mib, cpu.max_wall_s, cpu.nodes, cpu.cores) == (8192, 86400, 2, 4)
    assert isinstance(cpu.supply, network.CoBuilt) and cpu.supply.capital == 10**12
    gpu = net.clusters[1].partition("gpu")
    assert gpu is not None and gpu.gpu_type == "a100" and isinstance(gpu.supply, network.Purchased)
    assert gpu.sell.core_hour == 12_345_678
    site = net.site_of("east-a")
    assert site is not None and (site.region, site.latitude) == ("cn-east", 31.2)
    assert net.clusters[0].settings == {"speed": 2}
    assert net.accounts[0].opening_balance == 1_000_500_000


def test_prices_come_as_plain_rows() -> None:
    assert network.price_rows(network.parse(GOOD)) == {
        "east-a/cpu": {
            "sell": {"core_hour": 10_000_000, "gpu_hour": 0, "memory_gib_hour": 1_000_000},
            "cost": {"core_hour": 2_000_000, "gpu_hour": 0, "memory_gib_hour": 0},
            "supply": "co_built",
        },
        "west-b/gpu": {
            "sell": {"core_hour": 12_345_678, "gpu_hour": 600_000_000, "memory_gib_hour": 0},
            "cost": {"core_hour": 8_000_000, "gpu_hour": 400_000_000, "memory_gib_hour": 0},
            "supply": "purchased",
        },
    }


def test_the_hash_is_of_the_content_not_of_its_form() -> None:
    net = network.parse(GOOD)
    assert network.to_json(network.from_json(network.to_json(net))) == network.to_json(net)
    same = GOOD.replace("memory: 8 GiB", "memory: 8192").replace("0.10", "0.1")
    assert network.parse(same).hash == net.hash
    assert replace(net, clusters=net.clusters[::-1]).hash == net.hash
    assert network.parse(GOOD.replace("cores: 4", "cores: 8")).hash != net.hash


def test_a_difference_with_itself_is_empty_and_names_what_changed_otherwise() -> None:
    net = network.parse(GOOD)
    assert network.diff(net, network.parse(GOOD)) == []
    bigger = network.parse(GOOD.replace("cores: 4", "cores: 8"))
    assert [str(c) for c in network.diff(net, bigger)] == ["~ clusters.east-a.partitions.cpu.cores: 4 -> 8"]
    less = replace(net, clusters=net.clusters[:1], accounts=())
    assert [str(c) for c in network.diff(net, less)] == ["- accounts.acme", "- clusters.west-b"]
    assert [str(c) for c in network.diff(less, net)] == ["+ accounts.acme", "+ clusters.west-b"]
    assert "+ clusters.east-a" in [str(c) for c in network.diff(None, net)]


@pytest.mark.parametrize(
    ("old", "new", "at", "path", "word"),
    [
        ("site: west\n", "site: north\n", "north", "clusters.west-b.site", "north"),
        ("provider: partner", "provider: nobody", "nobody", "sites.west.provider", "nobody"),
        ("cores: 4,", "cores: -4,", "-4", "clusters.east-a.partitions.cpu.cores", "below"),
        ("cores: 4,", "cores: four,", "four", "clusters.east-a.partitions.cpu.cores", "four"),
        ("cores: 4,", "cores: 4, cores: 5,", "cores: 5", "clusters.east-a.partitions.cpu.cores", "twice"),
        ("cores: 4,", "cores: 4, corse: 5,", "corse", "clusters.east-a.partitions.cpu.corse", "not known"),
        ("        cores: 8\n", "", "arch: aarch64", "clusters.west-b.partitions.gpu", "cores is missing"),
        ("memory: 8 GiB", "memory: 8 GB", "8 GB", "clusters.east-a.partitions.cpu.memory", "GiB"),
        ("max_wall: 24:00:00", "max_wall: long", "long", "clusters.east-a.partitions.cpu.max_wall", "span"),
        ("arch: x86_64", "arch: vax", "vax", "clusters.east-a.partitions.cpu.arch", "vax"),
        ("core_hour: 0.10,", "core_hour: -0.10,", "-0.10", "clusters.east-a.prices.core_hour", "below"),
        ("core_hour: 0.10,", "core_hour: 0.123456789,", "0.12", "clusters.east-a.prices.core_hour", "fine"),
        ("core_hour: 0.10,", "core_hour: true,", "true", "clusters.east-a.prices.core_hour", "number"),
        ("core_hour: 0.10, ", "", "{memory", "clusters.east-a.prices", "core_hour is missing"),
        ("core_hour: 0.12345678, gpu_hour: 6", "core_hour: 1", "{core_hour: 1}", "clusters.west-b.partitions.gpu.prices",
         "gpu_hour"),
        ("commissioned: 2025-01-01", "commissioned: 2025-02-30", "2025", "clusters.east-a.supply.commissioned", "date"),
        (", depreciation_years: 5", "", "{kind: co_built", "clusters.east-a.supply", "depreciation_years"),
        ("kind: co_built", "kind: stolen", "stolen", "clusters.east-a.supply.kind", "stolen"),
        ("kind: embedded}", "kind: telepathy}", "telepathy", "clusters.west-b.connector.kind", "telepathy"),
        ("speed: 2", "password: x", "password", "clusters.east-a.connector.password", "secrets"),
        ("lat: 31.2", "lat: 131.2", "131.2", "sites.east.position.lat", "degrees"),
        ("Asia/Shanghai}", "Beijing time}", "Beijing", "sites.west.time_zone", "zone"),
        ("  east-a:", "  East_A:", "East_A", "clusters.East_A", "name"),
        ("        gpu_type: a100\n", "", "arch: aarch64", "clusters.west-b.partitions.gpu", "gpu_type"),
        ("[default, wave]", "[default, default]", "[default", "accounts.acme.projects", "twice"),
        ("network: demo", "network: demo\ncolour: red", "colour", "colour", "not known"),
        ("{title: A partner}", "5", "5", "providers.partner", "mapping"),
        ("network: demo", "network: demo\nclusters: {}", "clusters:", "clusters", "twice"),
        ("    supply: {kind: co_built", "    supply2: {kind: co_built", "{arch", "clusters.east-a.partitions.cpu", "supply"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_line_column_and_path(old: str, new: str, at: str, path: str, word: str) -> None:
    assert GOOD.count(old) == 1, old
    text = GOOD.replace(old, new)
    found = problems(text)
    same = [p for p in found if p["path"] == path and word in str(p["message"])]
    assert len(same) == 1, found
    line, column = int(str(same[0]["line"])), int(str(same[0]["column"]))
    assert text.splitlines()[line - 1][column - 1 :].startswith(at), found


def test_all_faults_are_told_at_once_in_the_order_of_lines() -> None:
    found = problems(
        GOOD.replace("cores: 4", "cores: 0").replace("site: west\n", "site: x\n").replace("kind: co_built", "kind: y")
    )
    assert [p["line"] for p in found] == [13, 17, 19]


@pytest.mark.parametrize("text", ["", "[]", "x", "network: demo", "clusters: [", "\t", "a: b: c", "network: \0"])
def test_what_is_no_network_is_an_error_and_no_crash(text: str) -> None:
    assert problems(text)


@given(st.integers(0, len(GOOD) - 1), st.sampled_from(["", "x", "-", ":", "{", "\n", " ", "'", "9", "[", "~"]))
def test_a_damaged_file_is_read_or_refused_with_places_inside_it(at: int, char: str) -> None:
    text = GOOD[:at] + char + GOOD[at + 1 :]
    try:
        network.parse(text)
    except InvalidInput as e:
        lines = text.count("\n") + 1
        assert e.code == "network.invalid"
        assert all(1 <= p["line"] <= lines and p["column"] >= 1 for p in e.details["problems"])


@pytest.mark.parametrize(
    ("text", "mib"), [(512, 512), ("512 MiB", 512), ("64 GiB", 65536), ("1.5 TiB", 1572864), ("1.5GiB", 1536)]
)
def test_memory_as_people_write_it(text: object, mib: int) -> None:
    assert quantities.mib(text) == mib


@pytest.mark.parametrize("text", [0, -1, True, 1.5, "64", "64 GB", "0 GiB", "1.0001 MiB", None, "9999999999 TiB"])
def test_what_is_no_memory(text: object) -> None:
    with pytest.raises(ValueError):
        quantities.mib(text)


@pytest.mark.parametrize(
    ("text", "s"),
    [(60, 60), ("90m", 5400), ("1h30m", 5400), ("2d", 172800), ("24:00:00", 86400), ("1-00:00:01", 86401), ("45s", 45)],
)
def test_time_as_people_write_it(text: object, s: int) -> None:
    assert quantities.seconds(text) == s


@pytest.mark.parametrize("text", [0, -5, False, "", "h", "1x", "00:00:00", "1h 30m", 2.5, None])
def test_what_is_no_time(text: object) -> None:
    with pytest.raises(ValueError):
        quantities.seconds(text)


LICENCES = """\
licences:
  mech: {count: 25}
  mech-east: {feature: mech, count: 4, site: east}
  solver: {count: 2, provider: partner}
placement: {verified: require}
"""


def test_licences_serve_the_network_a_provider_or_a_site() -> None:
    net = network.parse(GOOD + LICENCES)
    served = {x.name: (x.feature, x.count, list(net.served(x))) for x in net.licences}
    assert served == {
        "mech": ("mech", 25, ["east-a/cpu", "west-b/gpu"]), "mech-east": ("mech", 4, ["east-a/cpu"]), "solver": ("solver", 2, ["west-b/gpu"]),
    }  # fmt: skip
    assert net.verified == "require"
    again = network.from_json(network.to_json(net))
    assert again.hash == net.hash and (again.licences, again.verified) == (net.licences, net.verified)


def test_a_file_that_says_nothing_of_licences_has_the_hash_it_always_had() -> None:
    assert not {"licences", "verified"} & set(network.to_json(network.parse(GOOD)))
    assert network.parse(GOOD).verified == "prefer"
    assert network.parse(GOOD).hash != network.parse(GOOD + LICENCES).hash


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("licences: {mech: {}}\n", "count is missing"),
        ("licences: {mech: {count: 1, site: north}}\n", "there is no site 'north'"),
        ("licences: {mech: {count: 1, site: east, provider: tide}}\n", "a provider or a site, not both"),
        ("licences: {mech: {count: -1}}\n", "-1 is below 0"),
        ("placement: {verified: perhaps}\n", "'perhaps' is none of prefer, require"),
    ],
)
def test_what_is_wrong_with_licences_is_said(text: str, said: str) -> None:
    assert said in str(problems(GOOD + text)[0]["message"])


def test_a_site_says_whose_home_it_is_and_what_these_may_not_lose() -> None:
    text = GOOD.replace("lon: 121.5}}", "lon: 121.5}, home_of: [acme, lab], fair: slowdown}")
    net = network.parse(text)
    assert (net.sites[0].home_of, net.sites[0].fair) == (("acme", "lab"), "slowdown")
    again = network.from_json(network.to_json(net))
    assert again.sites == net.sites and again.hash == net.hash
    assert "home_of" not in network.to_json(network.parse(GOOD))["sites"][0]
    (nobody,) = problems(text.replace("home_of: [acme, lab], ", ""))
    assert nobody["path"] == "sites.east.fair" and "home_of" in str(nobody["message"]) and nobody["line"] == 6
    assert problems(text.replace("fair: slowdown", "fair: very"))
