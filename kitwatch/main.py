"""Entry point of the command; replaced as subcommands come."""


def main() -> int:
    """Run the command."""
    return 2
