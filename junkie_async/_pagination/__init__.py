"""Walks over lists that come in pages."""
