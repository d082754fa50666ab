"""What every folder stands on: atomic files, errors, the terminal, training curves, page templates."""
