"""Deterministic simulation: clients, service, disks and Redis in one thread of virtual time."""
