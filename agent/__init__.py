"""Runs in the vehicle: polls the kit, keeps records on disk, publishes them over MQTT."""
