"""What every connector is held to, on a real cluster of its kind; `test_embedded_*` adds what only the embedded one promises."""
