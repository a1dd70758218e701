"""Records on disk until the collector has confirmed that it committed them: a write-ahead log with bounded size."""
