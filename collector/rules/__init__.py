"""The rules that the product ships; read before every other rules file."""
