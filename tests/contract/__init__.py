"""What every market's adapter must do, whatever its wire format: one suite, run for each of them."""
