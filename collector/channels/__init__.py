"""What carries notifications to people."""
