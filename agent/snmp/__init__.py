"""The SNMP port and the libraries behind it."""
