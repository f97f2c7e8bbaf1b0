"""Roles, row-level security and monthly partitions: what every later table stands on."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

UPGRADE = r"""
do $$
begin
  -- Roles belong to the cluster, not to the database: another Bailiwick database may have made them.
  perform pg_advisory_xact_lock(hashtext('bailiwick roles'));
  if not exists (select from pg_roles where rolname = 'bailiwick_app') then
    create role bailiwick_app nologin;
  end if;
  if not exists (select from pg_roles where rolname = 'bailiwick_system') then
    create role bailiwick_system nologin;
  end if;
  if not pg_has_role(current_user, 'bailiwick_app', 'member') or current_setting('is_superuser') = 'off' then
    execute format('grant bailiwick_app to %I', current_user);
    execute format('grant bailiwick_system to %I', current_user);
  end if;
end $$;

grant usage on schema public to bailiwick_app, bailiwick_system;
grant create on schema public to bailiwick_system;

-- The organisation of the running transaction; null outside one.
create function bailiwick_organization() returns uuid language sql stable parallel safe as
$$ select nullif(current_setting('bailiwick.organization_id', true), '')::uuid $$;

-- Makes a table a tenant's: row-level security forced, its own rows for the application, all rows for the system role.
create function bailiwick_protect(target regclass, privileges text default 'select, insert, update, delete')
returns void language plpgsql as $$
begin
  execute format('alter table %s enable row level security', target);
  execute format('alter table %s force row level security', target);
  execute format('create policy tenant on %s to bailiwick_app'
                 ' using (organization_id = (select bailiwick_organization()))'
                 ' with check (organization_id = (select bailiwick_organization()))', target);
  execute format('create policy system on %s to bailiwick_system using (true) with check (true)', target);
  execute format('grant %s on %s to bailiwick_app', privileges, target);
  execute format('grant %s on %s to bailiwick_system', privileges, target);
end $$;

-- Makes a table the system role's alone: what has no organisation (users, mail, keys).
create function bailiwick_protect_system(target regclass, privileges text default 'select, insert, update, delete')
returns void language plpgsql as $$
begin
  execute format('alter table %s enable row level security', target);
  execute format('alter table %s force row level security', target);
  execute format('create policy system on %s to bailiwick_system using (true) with check (true)', target);
  execute format('grant %s on %s to bailiwick_system', privileges, target);
end $$;

-- Refuses any change of a row: for tables that only grow.
create function bailiwick_refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
end $$;

-- The smallest UUIDv7 of a moment: ids begin with 48 bits of milliseconds (RFC 9562 5.7).
create function bailiwick_uuid_at(moment timestamptz) returns uuid language sql immutable parallel safe as
$$ select (lpad(to_hex((extract(epoch from moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid $$;

-- A new UUIDv7. Ids are made by the application; this is for statements that make rows of their own.
create function bailiwick_uuid7() returns uuid language sql volatile parallel safe as
$$ select (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
           || substr(replace(gen_random_uuid()::text, '-', ''), 14, 3)
           || substr(replace(gen_random_uuid()::text, '-', ''), 17, 16))::uuid $$;

-- Tables that are partitioned by month over their UUIDv7 id.
create table partitioned_tables (name text primary key);
grant select on partitioned_tables to bailiwick_system;

-- Makes the monthly partitions of every such table from `first` to three months ahead; a default one catches the rest.
create function bailiwick_ensure_partitions(first date default (now() at time zone 'utc')::date)
returns void language plpgsql security definer set search_path = pg_catalog, public as $$
declare
  parent text;
  month date;
  part text;
begin
  perform pg_advisory_xact_lock(hashtext('bailiwick partitions'));
  for parent in select name from public.partitioned_tables order by name loop
    part := parent || '_default';
    if to_regclass('public.' || part) is null then
      execute format('create table public.%I partition of public.%I default', part, parent);
    end if;
    for month in select generate_series(date_trunc('month', first::timestamp),
                                        date_trunc('month', now() at time zone 'utc') + interval '3 months',
                                        interval '1 month')::date loop
      part := parent || to_char(month, '"_y"YYYY"m"MM');
      if to_regclass('public.' || part) is null then
        execute format('create table public.%I partition of public.%I for values from (%L) to (%L)', part, parent,
                       public.bailiwick_uuid_at(month::timestamp at time zone 'utc'),
                       public.bailiwick_uuid_at((month + interval '1 month') at time zone 'utc'));
      end if;
    end loop;
  end loop;
end $$;
revoke execute on function bailiwick_ensure_partitions(date) from public;
grant execute on function bailiwick_ensure_partitions(date) to bailiwick_system;

-- Events for the world outside, written in the transaction of the change that they tell of.
create table outbox_events (
  organization_id uuid not null,
  id uuid not null,
  topic text not null,
  payload jsonb not null,
  created_at timestamptz not null default now(),
  published_at timestamptz,
  primary key (organization_id, id)
) partition by range (id);
create index outbox_events_unpublished on outbox_events (id) where published_at is null;
select bailiwick_protect('outbox_events');
insert into partitioned_tables values ('outbox_events');

-- Answers of requests that carried an idempotency key.
create table idempotency_keys (
  organization_id uuid not null,
  caller text not null,
  operation text not null,
  key text not null,
  request_hash bytea not null,
  status smallint,
  body bytea,
  created_at timestamptz not null default now(),
  primary key (organization_id, caller, operation, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);
select bailiwick_protect('idempotency_keys');

-- Fixed windows of limited actions, counted over all processes; `subject` is hashed by the caller when it is personal.
create table rate_windows (
  subject text not null,
  window_start timestamptz not null,
  used integer not null,
  primary key (subject, window_start)
);
create index rate_windows_age on rate_windows (window_start);
select bailiwick_protect_system('rate_windows');
"""


def upgrade() -> None:
    op.execute(UPGRADE)
