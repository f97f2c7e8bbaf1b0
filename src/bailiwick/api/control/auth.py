"""`/api/v1/auth`: sign-up, sign-in, tokens, e-mail verification."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta

from bailiwick import identity
from bailiwick.api.authentication import bearer_token_of
from bailiwick.api.control.people import CamelCase, MemberView, moment
from bailiwick.identity import Caller, Credential, Founder, MembershipEnded, SignedIn, SignedUp, SlugTaken, Tokens
from bailiwick.kernel.errors import InvalidInput, NotFound
from bailiwick.kernel.ids import Prefix, encode
from bailiwick.kernel.runtime import runtime

Email = Annotated[str, Meta(min_length=1, max_length=256)]
NewPassword = Annotated[str, Meta(min_length=8, max_length=128)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Slug = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9-]+\Z")]


class Registration(CamelCase):
    """Body of register."""

    email: Email
    password: NewPassword
    name: Name
    workspace_name: Annotated[str, Meta(min_length=1, max_length=128)] | msgspec.UnsetType = msgspec.UNSET
    workspace_slug: Slug | msgspec.UnsetType = msgspec.UNSET


class Signup(CamelCase):
    """Body of signup."""

    email: Email
    password: NewPassword
    name: Name
    workspace_name: Annotated[str, Meta(min_length=1, max_length=64)] | msgspec.UnsetType = msgspec.UNSET
    signup_source: Annotated[str, Meta(max_length=32)] | msgspec.UnsetType = msgspec.UNSET
    marketing_attribution: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Login(CamelCase):
    """Body of login."""

    email: Email
    password: Annotated[str, Meta(min_length=1, max_length=128)]


class Refresh(CamelCase):
    """Body of refresh."""

    refresh_token: Annotated[str, Meta(min_length=1)]


class VerifyEmail(CamelCase):
    """Body of verify-email."""

    token: str


class ResendVerification(CamelCase):
    """Body of resend-verification."""

    email: Annotated[str, Meta(min_length=1, max_length=1024)]


class ChangePassword(CamelCase):
    """Body of change-password."""

    current_password: str
    new_password: NewPassword


class AuthTokens(CamelCase):
    """`expiresIn`: seconds until the access token expires."""

    access_token: str
    refresh_token: str
    expires_in: int

    @classmethod
    def of(cls, tokens: Tokens) -> AuthTokens:
        """A session's tokens."""
        return cls(tokens.access_token, tokens.refresh_token, tokens.expires_in_seconds)


class AuthResult(AuthTokens):
    """Tokens and the member; workspace, address and member repeat at the top level for the CLI."""

    member: MemberView
    workspace_id: str
    email: str
    member_id: str

    @classmethod
    def of_member(cls, signed_in: SignedIn) -> AuthResult:
        """A member with a session."""
        member, tokens = MemberView.of(signed_in.member), signed_in.tokens
        return cls(
            tokens.access_token,
            tokens.refresh_token,
            tokens.expires_in_seconds,
            member=member,
            workspace_id=member.workspace_id,
            email=member.email,
            member_id=member.member_id,
        )


def _given(value: Any) -> Any:
    return None if value is msgspec.UNSET else value


@post("/api/v1/auth/register", operation_id="governance_auth_register", status_code=201, public=True)
async def register(data: JSONBody[Registration]) -> AuthResult:
    """A user with a workspace of their own, signed in."""
    founder = Founder(
        email=data.email,
        password=data.password,
        name=data.name,
        organization_name=_given(data.workspace_name),
        organization_slug=_given(data.workspace_slug),
    )
    try:
        return AuthResult.of_member(await identity.register(founder))
    except SlugTaken as error:
        # The contract's only conflict here is the address.
        raise InvalidInput.of("workspaceSlug", error.message) from None


def _signup_result(signed_up: SignedUp) -> dict[str, Any]:
    organization, key = signed_up.organization, signed_up.key
    return {
        "accessToken": signed_up.tokens.access_token,
        "refreshToken": signed_up.tokens.refresh_token,
        "expiresIn": signed_up.tokens.expires_in_seconds,
        "user": {
            "id": encode(Prefix.USER, signed_up.member.user_id),
            "email": signed_up.member.email,
            "name": signed_up.member.name,
            "emailVerified": signed_up.member.email_verified,
        },
        "workspace": {
            "id": encode(Prefix.ORGANIZATION, organization.id),
            "name": organization.name,
            "planTier": organization.plan_tier,
            "trialExpiresAt": moment(organization.trial_expires_at),
        },
        "apiKey": {
            "keyId": encode(Prefix.VIRTUAL_KEY, key.id),
            "key": signed_up.key_plaintext,
            "keyPrefix": key.key_prefix,
            "label": key.label,
            "scopes": key.scopes,
            "status": "ACTIVE",
            "memberId": encode(Prefix.MEMBERSHIP, signed_up.member.membership_id),
            "parentKeyId": None,
            "allowedModels": key.allowed_models,
            "rateLimitRpm": key.rate_limit_rpm,
            "expiresAt": moment(key.expires_at),
            "lastUsedAt": None,
            "revokedAt": None,
            "createdAt": moment(key.created_at),
        },
        # The published command-line client; it takes a key, and any server's address from its environment.
        "cliInstall": (
            f"npm install -g @intutic/cli && INTUTIC_API_URL={shlex.quote(runtime().settings.base_url)}"
            f" intutic login --api-key {signed_up.key_plaintext}"
        ),
        "isNewUser": True,
    }


@post("/api/v1/auth/signup", operation_id="governance_auth_signup", status_code=201, public=True, validation_status=422)
async def signup(data: JSONBody[Signup]) -> dict[str, Any]:
    """A user with a workspace on trial, its wallet and first virtual key, signed in."""
    signed_up = await identity.sign_up(
        Founder(
            email=data.email,
            password=data.password,
            name=data.name,
            organization_name=_given(data.workspace_name),
            source=_given(data.signup_source),
            attribution=_given(data.marketing_attribution),
        )
    )
    return _signup_result(signed_up)


@post("/api/v1/auth/login", operation_id="governance_auth_login", status_code=200, public=True)
async def login(data: JSONBody[Login]) -> AuthResult:
    """A new session."""
    return AuthResult.of_member(await identity.log_in(data.email, data.password))


@post("/api/v1/auth/refresh", operation_id="governance_auth_refresh", status_code=200, public=True)
async def refresh(data: JSONBody[Refresh]) -> AuthTokens:
    """New tokens for a refresh token, which stops working."""
    return AuthTokens.of(await identity.refresh(data.refresh_token))


@post(
    "/api/v1/auth/verify-email",
    operation_id="governance_auth_verify_email",
    status_code=200,
    public=True,
    validation_code="TOKEN_INVALID",
)
async def verify_email(data: JSONBody[VerifyEmail]) -> dict[str, Any]:
    """Marks the address of the token's owner as verified."""
    return {"verified": True, "email": await identity.verify_email(data.token)}


@post(
    "/api/v1/auth/resend-verification",
    operation_id="governance_auth_resend_verification",
    status_code=200,
    public=True,
)
async def resend_verification(data: JSONBody[ResendVerification]) -> dict[str, Literal[True]]:
    """A new verification mail; earlier tokens stop working."""
    await identity.resend_verification(data.email)
    return {"sent": True}


@post(
    "/api/v1/auth/logout",
    operation_id="governance_auth_logout",
    status_code=200,
    credentials=(Credential.ACCESS_TOKEN,),
)
async def logout(caller: NamedDependency[Caller]) -> dict[str, Literal[True]]:
    """Ends the session of the access token."""
    await identity.log_out(caller)
    return {"loggedOut": True}


@post(
    "/api/v1/auth/change-password",
    operation_id="governance_auth_change_password",
    status_code=200,
    credentials=(Credential.ACCESS_TOKEN,),
)
async def change_password(caller: NamedDependency[Caller], data: JSONBody[ChangePassword]) -> dict[str, Literal[True]]:
    """A new password; every other session of the user ends."""
    await identity.change_password(caller, current=data.current_password, new=data.new_password)
    return {"changed": True}


# Not behind the guard: a genuine token of a member who was removed is 404 here, and 401 everywhere else.
@get("/api/v1/auth/me", operation_id="governance_auth_me", public=True)
async def me(request: Request[Any, Any, Any]) -> MemberView:
    """The member behind the credential; of a key, the member who made it."""
    try:
        caller = await identity.authenticate(bearer_token_of(request.scope["headers"]))
    except MembershipEnded as error:
        raise NotFound(error.message) from None
    return MemberView.of(await identity.read_own_member(caller))


ROUTES = [
    register,
    signup,
    login,
    refresh,
    verify_email,
    resend_verification,
    logout,
    change_password,
    me,
]
