"""The desk: tickets, what people owe because of problems (docs/tickets.md).

``transitions`` is the table of a ticket's life, ``events`` what happens to one, ``ticket`` the fold over that, ``desk``
the machine of a site, ``texts`` the words for people.
"""
