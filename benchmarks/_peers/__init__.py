"""The parts of ``peers.py``, which compares the client with what else its users could use."""
