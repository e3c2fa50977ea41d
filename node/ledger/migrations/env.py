"""How Alembic runs the migrations: inside the transaction it is handed."""

from alembic import context

from node.ledger.schema import tables

context.configure(connection=context.config.attributes["connection"], target_metadata=tables)
context.run_migrations()
