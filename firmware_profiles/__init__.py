"""One YAML file per device model and firmware range, and the code that matches and reads them."""
