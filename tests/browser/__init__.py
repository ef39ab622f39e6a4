"""The control room in a real Chromium; a package, so that what these tests share ends with the last of them."""
