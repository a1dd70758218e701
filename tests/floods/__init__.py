"""Floods: one vehicle wants all of the collector, in every way there is, and a neighbour goes on beside it.

``floods`` are what it says, ``flooder`` is the process that says it as fast as the broker takes it, ``stage`` is the
broker, the collector and the neighbour, and ``__main__`` runs them all and prints the table (``make floods``).
"""
