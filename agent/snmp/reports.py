"""What a v3 device's report asks of whoever sent the message (RFC 3414 section 3.2)."""


class Refused(Exception):  # noqa: N818 - not an error of ours but the device's word
    """Our credentials will not do; the text says which."""


class Again(Exception):  # noqa: N818 - as above
    """The same request has to be sent anew, for the engine or its time is known now."""
