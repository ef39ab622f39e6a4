"""`make docs`: the documentation site in build/site."""

from gateway.handbook.site import main

if __name__ == "__main__":
    main()
