"""What events make of subscriptions, without a database: any order and any repeats end alike."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from bailiwick.billing.plans import Plan
from bailiwick.billing.stripe_facts import STATUSES, EventKind, Facts, SubscriptionState
from bailiwick.billing.subscriptions import apply_event, current_of, effective_plan, new_subscription
from bailiwick.billing.tables import Subscription

ORGANIZATION = UUID(int=1)

states = st.builds(
    SubscriptionState,
    plan=st.none() | st.sampled_from(Plan),
    status=st.sampled_from(sorted(STATUSES)),
    cancel_at_period_end=st.none() | st.booleans(),
)
# Distinct moments: of two events of one second Stripe does not say which came first, so the later to arrive counts.
lives = st.lists(
    st.builds(
        Facts,
        event_id=st.just("evt"),
        kind=st.sampled_from(EventKind),
        created=st.integers(1, 10_000),
        subscription_id=st.sampled_from(["sub_1", "sub_2", "sub_3"]),
        customer_id=st.just("cus_1"),
        state=states,
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda facts: facts.created,
)


def told(events: list[Facts]) -> tuple[object, ...]:
    """What is known after these events, in their order."""
    known: dict[str, Subscription] = {}
    for facts in events:
        subscription = known.get(facts.subscription_id)
        if subscription is None:
            subscription = known[facts.subscription_id] = new_subscription(ORGANIZATION, facts)
        apply_event(subscription, facts)
    rows = [known[name] for name in sorted(known)]
    current = current_of(rows)
    return (
        effective_plan(rows),
        None if current is None else (current.id, current.plan, current.status, current.cancel_at_period_end),
    )


@given(lives, st.data())
def test_any_order_and_any_repeats_end_alike(events: list[Facts], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(events))
    repeated = [*shuffled, *data.draw(st.lists(st.sampled_from(events), max_size=4))]
    assert told(shuffled) == told(events)
    assert told(repeated) == told(events)


@given(lives)
def test_in_their_order_the_last_word_counts(events: list[Facts]) -> None:
    """A simple predictor for events in their true order: the status that was said last, the end that came last."""
    events = sorted((facts for facts in events if facts.subscription_id == "sub_1"), key=lambda facts: facts.created)
    if not events:
        return
    life = [facts for facts in events if facts.kind is not EventKind.PAYMENT_FAILED]
    alive = bool(life) and life[-1].kind is not EventKind.DELETED
    effective, current = told(events)
    assert (current is not None) is alive
    if isinstance(current, tuple):
        said = [facts.state for facts in events if facts.kind is not EventKind.DELETED]
        assert current[2] == said[-1].status
        assert effective == next((state.plan for state in reversed(said) if state.plan is not None), Plan.PRO)
