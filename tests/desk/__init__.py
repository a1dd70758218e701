"""The desk of a site under people, problems, time, crashes and two collectors, over a real database."""
