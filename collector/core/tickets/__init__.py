"""The desk: tickets, what people owe because of problems (docs/tickets.md).

``transitions`` is the table of a life, ``events`` what happens to a ticket, ``fold`` what that makes of a ``ticket``,
``desk`` the machine of a site, ``texts`` the words for people.
"""
