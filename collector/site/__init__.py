"""One site: its owner, what comes in, one unit of work after another, what goes back (docs/architecture.md)."""
