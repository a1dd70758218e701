"""Quiet lives of ambulances: every trouble occurs, no vehicle has a fault; and who judges what came of them."""
