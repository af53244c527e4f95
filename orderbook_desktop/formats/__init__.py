"""The field's file formats: what import, export and the local exchange have in common."""
