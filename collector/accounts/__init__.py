"""Who may see and do what: roles, accounts and their passwords, sessions, tokens of the API."""
