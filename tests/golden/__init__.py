"""Files as each release has written them, which every later one has to read."""
