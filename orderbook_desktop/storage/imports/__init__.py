"""Recordings made of files that others collected."""
