"""What pages, API and commands ask of the database: by key and by page, whatever the size of the fleet."""
