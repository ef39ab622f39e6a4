"""What the door shows and decides: the system API, the OpenAPI document and the static pages."""
