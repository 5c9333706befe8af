//! The shared SQLite file of Katena: connection, migrations, write lock.
