"""Alembic's environment: one connection, bounded waits for locks, one transaction for each version."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

url: str = context.config.attributes["url"]
engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=pool.NullPool)

with engine.connect() as connection:
    connection.execute(text("set lock_timeout = '10s'"))
    connection.execute(text("set statement_timeout = '15min'"))
    connection.commit()
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
