"""The chaos play: random faults from one seed, and all that was seen held against the truth."""
