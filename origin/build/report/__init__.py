"""Reports of builds: what was measured, for programs and for people."""
