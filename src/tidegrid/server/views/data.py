"""Uploads, datasets and quotas, as they go out."""

from __future__ import annotations

from tidegrid.server.views.base import Time, View


class Upload(View):
    sha256: str
    size: int


class UploadState(View):
    """id: null once it is done; offset: bytes that have arrived."""

    id: str | None = None
    sha256: str
    size: int
    offset: int = 0
    done: bool = False


class Packed(View):
    stored: int
    bytes: int


class Hashes(View):
    hashes: list[str]


class Dataset(View):
    name: str
    sha256: str
    files: int = 0
    bytes: int = 0
    regions: list[str] = []
    created_at: Time | None = None


class DatasetList(View):
    items: list[Dataset]


class Freed(View):
    name: str
    files: int
    bytes: int


class ProjectQuota(View):
    """bytes, files: in use; arriving_bytes: promised to uploads under way; limits: null for none."""

    project: str = ""
    bytes: int = 0
    files: int = 0
    arriving_bytes: int = 0
    limit_bytes: int | None = None
    limit_files: int | None = None


class Quota(ProjectQuota):
    org: str
    projects: list[ProjectQuota] = []
