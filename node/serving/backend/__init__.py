"""What Triton's Python backend runs: copied as model.py, imported by nothing here."""
