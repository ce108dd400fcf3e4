"""What all training with torch does alike: the machine, the loop, and its place on disk. Nothing is imported here."""
