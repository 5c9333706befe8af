# Short names for `cargo xtask`; `just --list` shows them.

# Ask the handbook, or the folder PATH, with any flags of `katena ask`
ask *ARGS:
    cargo xtask ask {{ARGS}}

# Every check, from nothing
test:
    cargo xtask test

# The rules of the house that a script can see
tidy:
    cargo xtask tidy

# Dependencies: bans, licences, sources
deny:
    cargo xtask deny

# The test servers, for working on one test at a time
servers:
    cargo xtask servers

# Format everything
fmt:
    cargo fmt --all
