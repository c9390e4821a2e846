"""The parts of ``peers.py``, which compares the client with its alternatives."""
