"""Accounts: who buys and who works here, how they sign in, and where parcels go."""
