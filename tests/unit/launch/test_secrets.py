"""Secrets are kept for their owner, listed by name, and shown to nobody: no error, no list and no log has their text."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh
import pytest

from tidegrid.catalog.network_model import Cluster
from tidegrid.connectors.contract import SiteUnsure
from tidegrid.connectors.slurm.ssh import SshLink, SshTarget
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound, TideError
from tidegrid.launch import connect, secrets
from tidegrid.launch.discovery import Office

KEY = asyncssh.generate_private_key("ssh-ed25519")
PEM = KEY.export_private_key("openssh").decode()
BODY = "".join(PEM.split("-----")[2].split())
BROKEN = {
    "cut": PEM[: len(PEM) // 2],
    "putty": "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\n" + BODY + "\n",
    "bare": BODY,
    "passphrase": KEY.export_private_key("pkcs8-pem", passphrase="x").decode(),
    "damaged": PEM.replace(BODY[70:90], "A" * 20),
}


def settings(name: str) -> dict[str, object]:
    public = KEY.export_public_key("openssh").decode().strip()
    return {"host": "127.0.0.1", "port": 1, "user": "tide", "identity": name, "host_keys": [public], "root": "/r"}


def has_secret(text: str, body: str) -> bool:
    """Whether any stretch of the key's text is in it."""
    plain = "".join(text.split())
    return any(body[i : i + 24] in plain for i in range(0, len(body) - 24, 8))


def test_a_key_is_kept_for_its_owner_and_listed_by_its_public_half(tmp_path: Path) -> None:
    found = secrets.put(tmp_path, "alpha-key", PEM)
    path = tmp_path / "secrets" / "alpha-key"
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert found.kind == "ssh key" and found.fingerprint.startswith("SHA256:") and found.public.startswith("ssh-ed25519 ")
    assert secrets.listed(tmp_path) == [found] and not has_secret(repr(found), BODY[-108:-66])
    with pytest.raises(Conflict):
        secrets.put(tmp_path, "alpha-key", PEM)
    secrets.put(tmp_path, "alpha-key", PEM, replace=True)
    path.chmod(0o640)
    assert secrets.listed(tmp_path)[0].kind == "not used: others may read it"
    secrets.remove(tmp_path, "alpha-key")
    assert secrets.listed(tmp_path) == []
    with pytest.raises(NotFound):
        secrets.remove(tmp_path, "alpha-key")


def test_a_new_key_can_be_used_at_once(tmp_path: Path) -> None:
    found = secrets.new(tmp_path, "beta")
    assert found.public.startswith("ssh-ed25519 ") and connect.ssh_target(tmp_path, settings("beta")).user == "tide"


@pytest.mark.parametrize("name", ["../x", "", "A", ".hidden", "a/b"])
def test_names_stay_in_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        secrets.put(tmp_path, name, PEM)


@pytest.mark.parametrize("kind", BROKEN)
def test_no_error_shows_a_key(tmp_path: Path, kind: str) -> None:
    text = BROKEN[kind]
    body = "".join(text.split())[-200:]
    (tmp_path / "secrets").mkdir()
    path = tmp_path / "secrets" / "key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(TideError) as refused:
        connect.slurm(tmp_path, Cluster("a", "", "slurm", settings("key"), ()))
    assert refused.value.code == ("secret.passphrase" if kind == "passphrase" else "secret.unusable")
    with pytest.raises(SiteUnsure) as unsure:
        asyncio.run(SshLink(SshTarget("127.0.0.1", "tide", text, "h k", 1)).connection())
    target = SshTarget("127.0.0.1", "tide", text, "h k", 1)
    try:
        found = repr(secrets.put(tmp_path, "again", text))
    except InvalidInput as e:
        found = repr(e)
    said = [str(refused.value), repr(refused.value.details), str(unsure.value), repr(unsure.value), repr(target), str(target), found]
    assert not [s for s in said if has_secret(s, body)]


def test_a_check_without_its_key_says_so_and_shows_none(tmp_path: Path) -> None:
    cluster = Cluster("a", "", "slurm", settings("key"), ())
    report = asyncio.run(Office(tmp_path).check(cluster, wait_s=1, skew_s=5))
    (finding,) = report["findings"]
    assert not report["ok"] and finding["code"] == "secret.missing" and "tide secret put key" in finding["hint"]
