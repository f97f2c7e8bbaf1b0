"""References resolved with what this installation has: its store, its environment, its Google project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from bailiwick.kernel.clock import now
from bailiwick.kernel.runtime import runtime
from bailiwick.secrets.google import GoogleSecretManager
from bailiwick.secrets.references import EnvironmentSecrets, Everything, Grants, SecretProvider, resolve
from bailiwick.secrets.store import StoredSecrets
from bailiwick.secrets.values import Secret

_NOBODY = UUID(int=0)


async def secret_of(organization_id: UUID, reference: str) -> Secret:
    """A secret that an organization refers to: from its store, else one of the installation's that it was granted.
    SecretReferenceInvalid, SecretNotFound, SecretUnavailable. Call it outside of a transaction: it may call Google."""
    return await resolve(reference, organization_id, [StoredSecrets(), *_installation(Grants())])


async def secret_of_installation(reference: str) -> Secret:
    """A secret that the installation itself needs, whoever it is granted to. The same errors."""
    return await resolve(reference, _NOBODY, _installation(Everything()))


def _installation(grants: Grants) -> Sequence[SecretProvider]:
    settings = runtime().settings
    providers: list[SecretProvider] = [EnvironmentSecrets(grants)]
    if settings.google_project and settings.google_credentials:
        key = Secret(Path(settings.google_credentials).read_text())
        providers.append(
            GoogleSecretManager(runtime().outbound, grants, project=settings.google_project, account_key=key, now=now)
        )
    return providers
