"""The ground floor of the storage: the database, and what each collection holds."""
