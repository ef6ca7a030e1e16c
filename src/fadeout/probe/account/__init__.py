"""The account: norms of every gradient in flight, and the ledger that is made of them."""
