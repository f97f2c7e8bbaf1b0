"""Users, organisations, memberships, sessions, keys, issuers, mail."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

UPGRADE = r"""
-- A person. Who signs in through an external issuer has neither an address nor a password here (external_users).
create table users (
  id uuid primary key,
  email text check (email = lower(email)),
  name text not null,
  password_hash text,
  email_verified_at timestamptz,
  disabled_at timestamptz,
  signup_source text,
  marketing_attribution jsonb,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (password_hash is null or email is not null)
);
create unique index users_email on users (email);
select bailiwick_protect_system('users');

-- The tenant. `version` rises with every change that an invocation must know of; admission compares it.
create table organizations (
  id uuid primary key,
  name text not null check (length(name) between 1 and 128),
  slug text not null,
  plan_tier text not null check (plan_tier in ('free', 'free_trial', 'pro', 'team', 'enterprise')),
  trial_expires_at timestamptz,
  vertical text not null default 'general' check (vertical in ('general', 'healthcare', 'behavioral_health')),
  baa_signed_at timestamptz,
  baa_signed_by uuid,
  stores_content boolean not null default false,
  version bigint not null default 1,
  deleted_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create unique index organizations_slug on organizations (slug) where deleted_at is null;
alter table organizations enable row level security;
alter table organizations force row level security;
create policy tenant on organizations to bailiwick_app using (id = (select bailiwick_organization()))
  with check (id = (select bailiwick_organization()));
create policy system on organizations to bailiwick_system using (true) with check (true);
grant select, update on organizations to bailiwick_app;
grant select, insert, update on organizations to bailiwick_system;

create table memberships (
  organization_id uuid not null references organizations (id),
  id uuid not null,
  user_id uuid not null references users (id),
  role text not null check (role in ('OWNER', 'ADMIN', 'EM', 'DEVELOPER', 'VIEWER')),
  budget_tier text not null default 'JUNIOR' check (budget_tier in ('JUNIOR', 'SENIOR', 'STAFF', 'PRINCIPAL')),
  department_id text,
  deactivated_at timestamptz,
  removed_at timestamptz,
  last_login_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (organization_id, id)
);
create unique index memberships_user on memberships (user_id, organization_id) where removed_at is null;
create unique index memberships_id on memberships (id);
select bailiwick_protect('memberships');

-- One signed-in device; its access tokens name it, its refresh tokens form one family.
create table sessions (
  organization_id uuid not null references organizations (id),
  id uuid not null,
  user_id uuid not null references users (id),
  membership_id uuid not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz,
  primary key (id),
  foreign key (organization_id, membership_id) references memberships
);
create index sessions_user on sessions (user_id) where revoked_at is null;
create index sessions_organization on sessions (organization_id, membership_id) where revoked_at is null;
select bailiwick_protect('sessions');

create table refresh_tokens (
  token_hash bytea primary key,
  session_id uuid not null references sessions (id),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  used_at timestamptz
);
create index refresh_tokens_session on refresh_tokens (session_id);
select bailiwick_protect_system('refresh_tokens');

create table email_verifications (
  token_hash bytea primary key,
  user_id uuid not null references users (id),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  used_at timestamptz,
  cancelled_at timestamptz
);
create index email_verifications_user on email_verifications (user_id);
select bailiwick_protect_system('email_verifications');

-- Calls models through the gateway. `issuer` says who issued it: our own gateway or a LiteLLM proxy.
create table virtual_keys (
  organization_id uuid not null references organizations (id),
  id uuid not null,
  membership_id uuid,
  parent_key_id uuid,
  issuer text not null default 'bailiwick' check (issuer in ('bailiwick', 'litellm')),
  external_id text,
  label text not null check (length(label) between 1 and 128),
  key_prefix text not null,
  key_hash bytea,
  scopes text[] not null default '{*}',
  allowed_models text[] not null default '{}',
  account_id uuid,
  rate_limit_rpm integer check (rate_limit_rpm > 0),
  metadata jsonb not null default '{}',
  expires_at timestamptz,
  revoked_at timestamptz,
  deleted_at timestamptz,
  last_used_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (organization_id, id),
  foreign key (organization_id, membership_id) references memberships
);
create unique index virtual_keys_hash on virtual_keys (key_hash) where key_hash is not null;
create index virtual_keys_parent on virtual_keys (organization_id, parent_key_id) where parent_key_id is not null;
select bailiwick_protect('virtual_keys');

-- Calls our API as the member who made it, within its scopes.
create table api_keys (
  organization_id uuid not null references organizations (id),
  id uuid not null,
  membership_id uuid not null,
  label text not null check (length(label) between 1 and 128),
  key_prefix text not null,
  key_hash bytea not null,
  scopes text[] not null default '{*}',
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (organization_id, id),
  foreign key (organization_id, membership_id) references memberships
);
create unique index api_keys_hash on api_keys (key_hash);
select bailiwick_protect('api_keys');

-- The organisation that an external issuer's org_id stands for.
create table external_organizations (
  issuer text not null,
  external_id text not null,
  organization_id uuid not null references organizations (id),
  created_at timestamptz not null default now(),
  primary key (issuer, external_id)
);
create index external_organizations_organization on external_organizations (organization_id);
select bailiwick_protect_system('external_organizations');

-- The user that an external issuer's subject stands for; its address is the issuer's word, and signs nobody in here.
create table external_users (
  issuer text not null,
  subject text not null,
  user_id uuid not null references users (id),
  email text,
  created_at timestamptz not null default now(),
  primary key (issuer, subject)
);
create index external_users_user on external_users (user_id);
select bailiwick_protect_system('external_users');

-- Keys that sign access tokens, named by their RFC 7638 thumbprint; the private half is sealed by the installation key.
create table signing_keys (
  id text primary key,
  public_key bytea not null,
  sealed_private_key bytea not null,
  created_at timestamptz not null default now(),
  retired_at timestamptz
);
create unique index signing_keys_active on signing_keys ((true)) where retired_at is null;
select bailiwick_protect_system('signing_keys');

-- Outgoing mail. What was handed to a mail server loses its body, which may hold a token.
create table mails (
  id uuid primary key,
  recipient text not null,
  subject text not null,
  body text not null,
  created_at timestamptz not null default now(),
  sent_at timestamptz,
  attempts integer not null default 0,
  next_attempt_at timestamptz not null default now(),
  last_error text
);
create index mails_unsent on mails (next_attempt_at) where sent_at is null;
select bailiwick_protect_system('mails');
"""


def upgrade() -> None:
    op.execute(UPGRADE)
