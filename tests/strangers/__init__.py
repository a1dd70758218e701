"""A stranger holds one vehicle's certificate and says whatever he likes; the collector lives with it.

``messages`` makes what he says, ``neighbours`` what honest vehicles of his site say in between, ``centre`` is the
collector that hears both, and ``__main__`` the run of it (``make strangers``).
"""
