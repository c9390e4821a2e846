"""The parts of `instructions.py` and `scale.py`: a canned server, and the works that are measured."""
