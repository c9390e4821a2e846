"""Verification: whether a key may be used, and what is remembered of earlier look-ups."""
