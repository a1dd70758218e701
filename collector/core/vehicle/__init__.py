"""One vehicle: what judging remembers of it, and how events and time change that."""
