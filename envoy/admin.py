"""The admin page of the Envoy on this machine, asked as what it is: without certificates, and past any proxy of the environment."""

import ssl

import httpx


def client(port: int, timeout: float) -> httpx.AsyncClient:
    """A client of the page. It trusts no certificate: there is none to check, and reading the list of those takes 30 ms."""
    no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=timeout, trust_env=False, verify=no_certificates)
