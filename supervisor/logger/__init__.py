"""Logs: the process that stores them (`__main__`), and how anyone reads them (`read`, `follow`)."""
