"""A fleet on one page: what the ledgers of many repositories say of their models.

Nothing here runs, trains or writes in those repositories. A ledger that is unreadable,
incomplete or contradicts itself stays on the page, before all others, with the reason.
"""


class FleetError(Exception):
    """The fleet could not be read or written; the message says what to do."""
