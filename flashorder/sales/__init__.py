"""Campaigns: create, open, pause, top up, close; what was promised, and telling the front."""
