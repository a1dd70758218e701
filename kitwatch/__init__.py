"""The command: one file a subcommand, each loading only the part it starts."""
