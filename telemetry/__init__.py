"""What agent and collector share: catalogues, records and messages, topics, the fleet file."""
