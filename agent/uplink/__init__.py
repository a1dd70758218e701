"""The way to the centre: connecting, what is said over a connection, what is sent again."""
