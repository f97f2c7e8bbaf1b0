"""Limits on how often something may be tried, counted in the database over all processes."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime

from sqlalchemy import text

from bailiwick.kernel.clock import now
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import system_transaction
from bailiwick.kernel.errors import RateLimited

_COUNT = text(
    "insert into rate_windows (subject, window_start, used) values (:subject, :window_start, 1)"
    " on conflict (subject, window_start) do update set used = rate_windows.used + 1 returning used"
)


async def count(action: str, subject: str, *, limit: int, window_seconds: int = 60) -> None:
    """Counts one try in a fixed window. Raises RateLimited once there were more than `limit`.

    The try is counted in its own transaction, so that a use case that fails afterwards has still used it up.
    """
    moment = now().timestamp()
    start = math.floor(moment / window_seconds) * window_seconds
    hashed = hashlib.sha256(f"{action}:{subject}".encode()).hexdigest()
    async with system_transaction(CrossTenantUse.SIGN_IN) as session:
        used = await session.scalar(_COUNT, {"subject": hashed, "window_start": datetime.fromtimestamp(start, UTC)})
    if used is not None and used > limit:
        raise RateLimited(
            f"At most {limit} in {window_seconds} seconds.",
            retry_after_seconds=max(1, math.ceil(start + window_seconds - moment)),
        )
