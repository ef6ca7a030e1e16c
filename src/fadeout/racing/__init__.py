"""racing: how a race is scored: checks of a case, who goes on, who won, and a won bundle taken apart."""
