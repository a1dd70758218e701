"""The collector's database: schema, the one commit, the site lock, the log of batches."""
