"""Everything slow: reads committed batches by a cursor and delivers."""
