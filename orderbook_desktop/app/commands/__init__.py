"""The program's commands, and the modules that they share."""
