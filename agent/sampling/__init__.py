"""When to poll, and from polls to samples and events."""
