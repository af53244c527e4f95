"""The field's file formats, which import, export and the local exchange share."""
