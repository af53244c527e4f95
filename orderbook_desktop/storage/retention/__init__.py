"""What is kept: sizes, and old chunks cut from the front."""
