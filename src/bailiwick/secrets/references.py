"""Secrets by reference: a name that an organization stores, resolved when it is needed.

Providers are asked in order. The organization's own store needs no grant. The environment and Google Secret Manager
hold secrets of the whole installation, so a name there must be granted to the organization: else any organization could
name any of them and have it sent, as a bearer token, to a server of its own.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from bailiwick.secrets.errors import SecretNotFound, SecretReferenceInvalid
from bailiwick.secrets.values import Secret

REFERENCE_PATTERN = r"^[A-Za-z0-9_-]{1,255}$"
_REFERENCE = re.compile(REFERENCE_PATTERN)


class SecretProvider(Protocol):
    """One place that keeps secrets."""

    async def read(self, reference: str, organization_id: UUID) -> Secret | None:
        """The secret, None when this place has none for the organization; SecretUnavailable when it cannot tell."""
        ...


class Grants:
    """Which organizations may use a secret of the installation.

    `BAILIWICK_SECRET_<NAME>__ORGANIZATIONS`: ids separated by commas, or `*` for every organization.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ

    def allow(self, reference: str, organization_id: UUID) -> bool:
        """Whether the organization may use the secret of that name."""
        listed = self._environ.get(environment_name(reference) + "__ORGANIZATIONS", "")
        granted = {entry.strip() for entry in listed.split(",")}
        return "*" in granted or str(organization_id) in granted


class Everything(Grants):
    """For the installation's own use: nothing is withheld."""

    def allow(self, reference: str, organization_id: UUID) -> bool:
        return True


async def resolve(reference: str, organization_id: UUID, providers: Sequence[SecretProvider]) -> Secret:
    """The first provider's answer. SecretReferenceInvalid, SecretNotFound, SecretUnavailable."""
    check_reference(reference)
    for provider in providers:
        secret = await provider.read(reference, organization_id)
        if secret is not None:
            return secret
    raise SecretNotFound(reference)


def check_reference(reference: str) -> None:
    """SecretReferenceInvalid unless it matches REFERENCE_PATTERN (contract LogSourceCreate.secretRef)."""
    if not _REFERENCE.fullmatch(reference):
        raise SecretReferenceInvalid


class EnvironmentSecrets:
    """`BAILIWICK_SECRET_<NAME>`: the reference in upper case, `-` as `_`, since a shell exports no hyphens."""

    def __init__(self, grants: Grants, environ: Mapping[str, str] | None = None) -> None:
        self._grants, self._environ = grants, os.environ if environ is None else environ

    async def read(self, reference: str, organization_id: UUID) -> Secret | None:
        if not self._grants.allow(reference, organization_id):
            return None
        value = self._environ.get(environment_name(reference))
        return Secret(value) if value else None


def environment_name(reference: str) -> str:
    """The environment variable that holds the installation's secret of that name."""
    return "BAILIWICK_SECRET_" + reference.upper().replace("-", "_")
