"""The context service: indexes source trees of this machine and answers what is in them."""
