"""The program as a process: its start, its log, its threads, and its end."""
