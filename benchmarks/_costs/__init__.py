"""The parts of `instructions.py` and `scale.py`: a canned server, and the measured works."""
