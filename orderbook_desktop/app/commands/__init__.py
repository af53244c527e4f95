"""The program's commands, and what they share."""
