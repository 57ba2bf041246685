"""The network file's reader: values with their places in, a Network or every problem out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tidegrid.catalog import connector_settings, quantities
from tidegrid.catalog import software as programs
from tidegrid.catalog.network_model import (
    Account,
    Cluster,
    CoBuilt,
    Licence,
    Network,
    Partition,
    Prices,
    Provider,
    Purchased,
    Site,
)
from tidegrid.catalog.proposal import FILL_IN
from tidegrid.catalog.yamldoc import Doc, Path, Problem, show_path
from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.money import parse_amount, parse_price

T = TypeVar("T")
NAME = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_PARTITION = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")  # as centres name them
_DATE = re.compile(r"^(\d{4})-(\d{2})-(\d{2})\Z")
_ZONE = re.compile(r"^(?:UTC|[A-Za-z]+(?:/[A-Za-z0-9_+-]+){1,2})\Z")
_SECRET = re.compile(r"(?i)(password|passwd|secret|token|private_?key|credential)(?!_name$|_ref$)")
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
CONNECTORS = ("embedded", "slurm")
ARCHES = ("x86_64", "aarch64", "loongarch64", "sw_64", "riscv64", "ppc64le")
_REQUIRED = object()


class Table:
    """A mapping being read. What nobody asked for is unknown, and said so by `done`."""

    def __init__(self, reader: Reader, value: Any, path: Path) -> None:
        self.reader, self.path = reader, path
        self.value: dict[str, Any] = value if isinstance(value, dict) else {}
        self.seen: list[str] = []
        if not isinstance(value, dict):
            reader.bad(path, f"a mapping is wanted, not {_kind(value)}")

    def has(self, key: str) -> bool:
        return key in self.value

    def get(self, key: str, read: Callable[[Any], T], default: Any = _REQUIRED) -> T | Any:
        """The value of `key` as `read` makes it; ValueError and money errors of `read` become problems."""
        self.seen.append(key)
        if key not in self.value:
            if default is _REQUIRED:
                self.reader.bad(self.path, f"{key} is missing")
                return None
            return default
        try:
            return read(self.value[key])
        except ValueError as e:
            self.reader.bad((*self.path, key), str(e))
        except InvalidInput as e:
            self.reader.bad((*self.path, key), e.message)
        return None if default is _REQUIRED else default

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        return str(self.get(key, _text, default) or "")

    def price(self, key: str, default: Any = _REQUIRED) -> int:
        raw = self.reader.doc.mark((*self.path, key)).text
        return int(self.get(key, lambda v: _not_negative(parse_price(_number(v, raw), key)), default) or 0)

    def amount(self, key: str, default: Any = 0) -> int:
        raw = self.reader.doc.mark((*self.path, key)).text
        return int(self.get(key, lambda v: _not_negative(parse_amount(_number(v, raw), key)), default) or 0)

    def count(self, key: str, default: Any = _REQUIRED, *, least: int = 0) -> int:
        return int(self.get(key, lambda v: _count(v, least), default) or 0)

    def table(self, key: str, default: Any = _REQUIRED) -> Table | None:
        self.seen.append(key)
        if key not in self.value:
            if default is _REQUIRED:
                self.reader.bad(self.path, f"{key} is missing")
            return None
        return Table(self.reader, self.value[key], (*self.path, key))

    def named(
        self, key: str, default: Any = _REQUIRED, pattern: re.Pattern[str] = NAME
    ) -> Iterator[tuple[str, Table]]:
        """The tables of a mapping from names; a name is lower-case letters, digits and dashes, or as `pattern` says."""
        table = self.table(key, default)
        if table is None:
            return
        if default is _REQUIRED and not table.value and isinstance(self.value[key], dict):
            self.reader.bad(table.path, "is empty")
        for name, value in table.value.items():
            if not pattern.match(name):
                letters = "lower-case letters, digits, dashes" if pattern is NAME else "letters, digits, `.`, `_`, `-`"
                self.reader.bad((*table.path, name), f"{name!r} is no name ({letters}; at most 63)", key=True)
            yield name, Table(self.reader, value, (*table.path, name))

    def done(self) -> None:
        for key in self.value:
            if key not in self.seen:
                known = ", ".join(sorted(set(self.seen)))
                self.reader.bad((*self.path, key), f"is not known here (known: {known})", key=True)


class Reader:
    """Reads a whole document; `problems` collects."""

    def __init__(self, doc: Doc) -> None:
        self.doc = doc
        self.problems: list[Problem] = []

    def bad(self, path: Path, message: str, *, key: bool = False) -> None:
        self.problems.append(self.doc.problem(path, message, key=key))

    def network(self) -> Network:
        top = Table(self, self.doc.value, ())
        name = top.get("network", _name, "network")
        currency = top.get("currency", _currency, "CNY")
        providers = tuple(self.provider(n, t) for n, t in top.named("providers"))
        sites = tuple(self.site(n, t, {p.name for p in providers}) for n, t in top.named("sites"))
        clusters = tuple(self.cluster(n, t, {s.name for s in sites}) for n, t in top.named("clusters"))
        accounts = tuple(self.account(n, t) for n, t in top.named("accounts", None))
        known = {p.name for p in providers}, {s.name for s in sites}
        licences = tuple(self.licence(n, t, *known) for n, t in top.named("licences", None))
        verified = "prefer"
        if (placement := top.table("placement", None)) is not None:
            verified = placement.get("verified", _one_of(("prefer", "require")), "prefer") or "prefer"
            placement.done()
        top.done()
        self.unfilled()
        return Network(name or "network", currency or "CNY", providers, sites, clusters, accounts, licences, verified)

    def licence(self, name: str, t: Table, providers: set[str], sites: set[str]) -> Licence:
        out = Licence(name, t.get("feature", _name, name) or name, t.count("count"), t.text("provider", ""), t.text("site", ""))
        self.reference(t, "provider", out.provider, providers)
        self.reference(t, "site", out.site, sites)
        if out.provider and out.site:
            self.bad(t.path, "serves a provider or a site, not both")
        t.done()
        return out

    def unfilled(self) -> None:
        """What a proposal left to people: said so, instead of what else is wrong with it."""
        for path, mark in self.doc.marks.items():
            if mark.text.startswith(FILL_IN):
                shown = show_path(path)
                self.problems = [p for p in self.problems if p.path != shown and not p.path.startswith(f"{shown}.")]
                self.bad(path, "is still to be filled in")

    def provider(self, name: str, t: Table) -> Provider:
        out = Provider(name, t.text("title", ""))
        t.done()
        return out

    def site(self, name: str, t: Table, providers: set[str]) -> Site:
        provider = t.text("provider")
        self.reference(t, "provider", provider, providers)
        region, zone = t.text("region"), t.get("time_zone", _zone)
        latitude = longitude = None
        position = t.table("position", None)
        if position is not None:
            latitude = position.get("lat", lambda v: _degrees(v, 90))
            longitude = position.get("lon", lambda v: _degrees(v, 180))
            position.done()
        homes = tuple(t.get("home_of", _names, ()))
        fair = t.get("fair", _one_of(("wait", "slowdown")), "") or ""
        if fair and not homes:
            self.bad((*t.path, "fair"), "is promised to nobody: name organisations in `home_of`")
        t.done()
        return Site(name, provider, region, zone or "UTC", latitude, longitude, homes, fair)

    def reference(self, t: Table, key: str, name: str, known: set[str]) -> None:
        if name and name not in known:
            self.bad((*t.path, key), f"there is no {key} {name!r} in this file")

    def cluster(self, name: str, t: Table, sites: set[str]) -> Cluster:
        site = t.text("site")
        self.reference(t, "site", site, sites)
        kind, settings = self.connector(t)
        supply = t.value.get("supply"), (*t.path, "supply")
        prices = t.value.get("prices"), (*t.path, "prices")
        t.seen += ["supply", "prices"]
        software = {}
        if (table := t.table("software", None)) is not None:
            software = {k: found for k in table.value if (found := table.get(k, programs.read)) is not None}
        partitions = tuple(self.partition(n, p, supply, prices) for n, p in t.named("partitions", pattern=_PARTITION))
        t.done()
        return Cluster(name, site, kind, settings, partitions, software)

    def connector(self, t: Table) -> tuple[str, dict[str, Any]]:
        table = t.table("connector")
        if table is None:
            return "embedded", {}
        kind = table.get("kind", _one_of(CONNECTORS))
        settings = {k: v for k, v in table.value.items() if k != "kind"}
        self.secrets(settings, table.path)
        if kind == "slurm":
            settings = connector_settings.slurm(table)
            table.done()
        return kind or "embedded", settings

    def secrets(self, value: Any, path: Path) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if _SECRET.search(key):
                    self.bad(
                        (*path, key),
                        "secrets do not belong here: name them in the server's own configuration",
                        key=True,
                    )
                self.secrets(inner, (*path, key))
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                self.secrets(inner, (*path, i))

    def partition(self, name: str, t: Table, supply: tuple[Any, Path], prices: tuple[Any, Path]) -> Partition:
        arch = t.get("arch", _one_of(ARCHES))
        gpus = t.count("gpus", 0)
        gpu_type = t.text("gpu_type", "")
        gpu_model = t.text("gpu_model", "")
        if gpus and not gpu_type:
            self.bad(t.path, "gpu_type is missing: there are gpus")
        out = Partition(
            name=name,
            arch=arch or "x86_64",
            nodes=t.count("nodes", least=1),
            cores=t.count("cores", least=1),
            memory_mib=t.get("memory", quantities.mib) or 1,
            supply=self.supply(*self.inherited(t, "supply", *supply), gpus=gpus),
            sell=self.prices(*self.inherited(t, "prices", *prices), gpus=gpus),
            cpu_model=t.text("cpu_model", ""),
            gpus=gpus,
            gpu_type=gpu_type,
            gpu_model=gpu_model,
            max_wall_s=t.get("max_wall", quantities.seconds, 0) or 0,
            interconnect=t.text("interconnect", ""),
        )
        t.done()
        return out

    def inherited(self, t: Table, key: str, outer: Any, path: Path) -> tuple[Any, Path]:
        """A partition's own block, or its cluster's."""
        t.seen.append(key)
        if t.has(key):
            return t.value[key], (*t.path, key)
        if outer is None and path not in self.doc.marks:
            self.bad(t.path, f"{key} is missing, here and in the cluster: nothing is free by silence")
            return {}, ()
        return outer, path

    def supply(self, value: Any, path: Path, *, gpus: int) -> CoBuilt | Purchased:
        if not path:
            return CoBuilt(Prices(0))
        t = Table(self, value, path)
        kind = t.get("kind", _one_of(("co_built", "purchased")))
        if kind == "purchased":
            bought = Purchased(
                cost=Prices(t.price("core_hour"), self.gpu_price(t, "gpu_hour", gpus), t.price("memory_gib_hour", 0)),
                cap_core_hours=t.count("cap_core_hours", 0),
                minimum=t.amount("minimum_per_month"),
            )
            t.done()
            return bought
        owned = CoBuilt(
            cost=Prices(
                t.price("marginal_core_hour"),
                self.gpu_price(t, "marginal_gpu_hour", gpus),
                t.price("marginal_memory_gib_hour", 0),
            ),
            capital=t.amount("capital"),
            depreciation_years=t.count("depreciation_years", 0),
            idc_cost_per_month=t.amount("idc_cost_per_month"),
            commissioned=t.get("commissioned", _date, "") or "",
        )
        if owned.capital and not owned.depreciation_years:
            self.bad(path, "depreciation_years is missing: there is capital to write off")
        if kind is not None:
            t.done()
        return owned

    def prices(self, value: Any, path: Path, *, gpus: int) -> Prices:
        if not path:
            return Prices(0)
        t = Table(self, value, path)
        out = Prices(t.price("core_hour"), self.gpu_price(t, "gpu_hour", gpus), t.price("memory_gib_hour", 0))
        t.done()
        return out

    def gpu_price(self, t: Table, key: str, gpus: int) -> int:
        return t.price(key) if gpus else t.price(key, 0)

    def account(self, name: str, t: Table) -> Account:
        out = Account(name, tuple(t.get("projects", _names, ())), t.amount("opening_balance"))
        t.done()
        return out


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"a text is wanted, not {_kind(value)}" if not isinstance(value, str) else "is empty")
    if len(value) > 1000 or any(ord(c) < 32 for c in value):
        raise ValueError("too long, or more than one line")
    return value


def _name(value: Any) -> str:
    text = _text(value)
    if not NAME.match(text):
        raise ValueError(f"{text!r} is no name (lower-case letters, digits, dashes; at most 63)")
    return text


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"a list of names is wanted, not {_kind(value)}")
    names = tuple(_name(v) for v in value)
    if len(set(names)) != len(names):
        raise ValueError("a name appears twice")
    return names


def _currency(value: Any) -> str:
    if value != "CNY":
        raise ValueError(f"books are kept in CNY, not {value!r}")
    return "CNY"


def _one_of(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}")
        return str(value)

    return read


def _count(value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"a whole number is wanted, not {value!r}")
    if not least <= value <= 1_000_000_000:
        raise ValueError(f"{value} is below {least}" if value < least else f"{value} is too large")
    return value


def _number(value: Any, raw: str) -> str:
    """The number as written, so that no digit is lost on the way through a float."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"a number is wanted, not {_kind(value)}")
    return raw or str(value)


def _not_negative(value: int) -> int:
    if value < 0:
        raise ValueError("is below 0")
    return value


def _degrees(value: Any, most: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
        raise ValueError(f"degrees between -{most} and {most} are wanted, not {value!r}")
    return float(value)


def _zone(value: Any) -> str:
    text = _text(value)
    if not _ZONE.match(text):
        raise ValueError(f"{text!r} is no time zone name (like Asia/Shanghai)")
    return text


def _date(value: Any) -> str:
    match = _DATE.match(value) if isinstance(value, str) else None
    if match is None or not 1 <= int(match[2]) <= 12 or not 1 <= int(match[3]) <= _DAYS[int(match[2]) - 1]:
        raise ValueError(f"{value!r} is no date (YYYY-MM-DD)")
    return str(value)
