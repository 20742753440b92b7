"""Foreign weight files, read as data and renamed."""
