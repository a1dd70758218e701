"""Odd answers: what devices, servers and brokers may say, through our own readers and real sockets and ptys.

``mutations`` makes odd bytes of good ones, ``kinds`` are the protocols, ``run`` what holds for all of them;
``python -m tests.odd_answers --answers 100000 --record`` is the long form (``make oddanswers``).
"""
