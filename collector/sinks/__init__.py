"""What reads committed batches by a cursor and puts them elsewhere."""
