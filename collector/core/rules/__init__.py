"""Rules: their files, their types, what they make of each sample of a schema, and the machine of one condition."""
