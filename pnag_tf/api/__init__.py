"""What notebooks and programs use, by its public names in `pnag_tf`; and how settings become a run."""
