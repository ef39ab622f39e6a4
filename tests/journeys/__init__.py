"""What people do with a whole mesh, through its door; a package, so that what these tests share ends with the last of them."""
