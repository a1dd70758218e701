"""A kit that answers on real protocols, led by a scenario."""
