"""Endpoint files are replaced as a whole and leave nothing behind."""

import json
from pathlib import Path

from envoy.endpoints import endpoints_file, write_endpoints


def test_the_sockets_of_a_service_are_its_endpoints(tmp_path: Path) -> None:
    """In order, as unix sockets."""
    write_endpoints(tmp_path, "learning", [Path("/run/a.sock"), Path("/run/b.sock")])
    (resource,) = json.loads(endpoints_file(tmp_path, "learning").read_text())["resources"]
    paths = [each["endpoint"]["address"]["pipe"]["path"] for each in resource["endpoints"][0]["lb_endpoints"]]
    assert (resource["cluster_name"], paths) == ("learning", ["/run/a.sock", "/run/b.sock"])


def test_writing_again_replaces_and_leaves_no_scraps(tmp_path: Path) -> None:
    """The temporary file has become the file; a reader never sees a half."""
    write_endpoints(tmp_path, "learning", [Path("/run/a.sock")])
    write_endpoints(tmp_path, "learning", [])
    (resource,) = json.loads(endpoints_file(tmp_path, "learning").read_text())["resources"]
    assert resource["endpoints"] == [{"lb_endpoints": []}]
    assert [path.name for path in tmp_path.iterdir()] == ["learning.json"]
