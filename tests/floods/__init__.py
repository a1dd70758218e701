"""Floods: one vehicle wants all of the collector, in every way there is, and a neighbour goes on beside it.

``floods`` are what it says, ``flooder`` is the process that says it as fast as the broker takes it, ``stage`` is the
broker, the collector and the neighbour. ``attacks`` are what one may do beside pouring, ``attacked`` is their stage,
with the broker as it is shipped. ``__main__`` runs them all and prints the tables (``make floods``).
"""
