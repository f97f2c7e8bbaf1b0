-- Settles one invocation, as `invocations_settle` does a batch of one: the same rows, in the same order of locks, at
-- half the price. What it finds closed already, the batch's function explains.
create or replace function invocations_settle_one(
  organization uuid,
  invocation uuid,
  status text,
  decision text,
  error_code text,
  provider text,
  model text,
  input_tokens bigint,
  output_tokens bigint,
  cost bigint,
  latency integer,
  first_token integer,
  findings text,
  input_hash text,
  output_hash text,
  audit_entry uuid,
  audit_chain text,
  audit_body text,
  audit_action text,
  audit_actor text,
  event_payload text,
  run_agent text,
  requested_model text,
  cached_tokens bigint,
  reasoning_tokens bigint,
  cache_hit boolean,
  cache_savings bigint,
  raw_cost bigint,
  policy_decision uuid,
  context text,
  topic text
) returns text
language plpgsql security definer
set search_path = pg_catalog, public
as $$
#variable_conflict use_variable
declare
  moment timestamptz := clock_timestamp();
  closed record;
begin
  update holds h
     set state = case when cost > 0 or status = 'completed' then 'posted' else 'voided' end,
         posted_amount = least(cost, h.amount), posted_tokens = least(input_tokens + output_tokens, h.tokens),
         posted_runs = case when status = 'completed' then 1 else 0 end, closed_at = moment
   where h.organization_id = organization and h.id = invocation and h.closed_at is null
  returning h.debit_account_id, h.credit_account_id, h.amount, h.posted_amount, h.tokens, h.posted_tokens,
            h.posted_runs, h.budget_ids, h.created_at, h.details
    into closed;
  if not found then
    return (invocations_settle(
      array[row(organization, invocation, status, decision, error_code, provider, model, input_tokens,
                output_tokens, cost, latency, first_token, findings, input_hash, output_hash, audit_entry, audit_chain,
                audit_body, audit_action, audit_actor, event_payload, run_agent, requested_model, cached_tokens,
                reasoning_tokens, cache_hit, cache_savings, raw_cost, policy_decision, context)::invocation_settlement],
      topic))[1];
  end if;

  -- What the locks below need not protect comes before them: they stay until this is on disk.
  insert into invocations (organization_id, id, hold_id, kind, target_kind, target_name, subject, membership_id,
                           virtual_key_id, session_name, status, decision, error_code, provider, model, input_tokens,
                           output_tokens, cost_micros, latency_ms, first_token_ms, findings, input_hash, output_hash,
                           audit_id, finished_at, requested_model, cached_tokens, reasoning_tokens, cache_hit,
                           cache_savings_micros, raw_cost_micros, decision_id, context)
  select organization, invocation, invocation, d.kind, d.target_kind, d.target_name, d.subject, d.membership_id,
         d.virtual_key_id, d.session_name, status, decision, error_code, provider, model, input_tokens, output_tokens,
         closed.posted_amount, latency, first_token, findings::jsonb, input_hash, output_hash, audit_entry, moment,
         left(requested_model, 256), cached_tokens, reasoning_tokens, cache_hit, cache_savings, raw_cost,
         policy_decision, context::jsonb
    from invocations_of_details(closed.details) as d;
  if closed.posted_amount > 0 then
    insert into transfers (organization_id, id, ledger, debit_account_id, credit_account_id, amount, kind, hold_id,
                           reference, created_at)
    values (organization, audit_entry, 'usd_micros', closed.debit_account_id, closed.credit_account_id,
            closed.posted_amount, 'invocation', invocation, invocation::text, moment);
  end if;
  insert into outbox_events (organization_id, id, topic, payload, created_at)
  values (organization, audit_entry, topic, event_payload::jsonb, moment);

  -- In the order of their keys: two processes that change the same accounts must not wait for each other.
  if closed.debit_account_id < closed.credit_account_id or closed.posted_amount = 0 then
    update accounts a set balance = a.balance - closed.posted_amount, held = a.held - closed.amount
     where a.organization_id = organization and a.id = closed.debit_account_id;
  end if;
  if closed.posted_amount > 0 then
    update accounts a set balance = a.balance + closed.posted_amount
     where a.organization_id = organization and a.id = closed.credit_account_id;
    if closed.credit_account_id < closed.debit_account_id then
      update accounts a set balance = a.balance - closed.posted_amount, held = a.held - closed.amount
       where a.organization_id = organization and a.id = closed.debit_account_id;
    end if;
  end if;
  update budgets b
     set held = b.held - case b.unit when 'usd_micros' then closed.amount when 'tokens' then closed.tokens
                                     when 'runs' then 1 else 0 end,
         spent = b.spent + case b.unit when 'usd_micros' then closed.posted_amount
                                       when 'tokens' then closed.posted_tokens
                                       when 'runs' then closed.posted_runs else 0 end
   where b.organization_id = organization and b.id = any (closed.budget_ids)
     -- A limit per minute has forgotten what an earlier window admitted.
     and (b.period <> 'minute' or b.period_start <= closed.created_at);
  perform invocations_count_trace(organization, invocation, status, decision,
                                  coalesce(requested_model, d.target_name), model, d.virtual_key_id,
                                  case when d.kind = 'agent_run' and status = 'completed'
                                       then input_tokens + output_tokens end)
     from invocations_of_details(closed.details) as d;
  if run_agent is not null then
    insert into run_counts as c (organization_id, agent_id, runs) values (organization, run_agent, 1)
    on conflict (organization_id, agent_id) do update set runs = c.runs + 1;
  end if;
  perform audit_append_one(organization, audit_entry, audit_chain, audit_body, audit_action, audit_actor, run_agent);
  return 'ok';
end $$;
alter function invocations_settle_one owner to bailiwick_system;
revoke execute on function invocations_settle_one from public;
grant execute on function invocations_settle_one to bailiwick_app;
