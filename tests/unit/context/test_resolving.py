"""Where imports lead, language by language."""

import pytest

from services.context.parsing import Import
from services.context.resolving import Resolver

PYTHON = ["app/__init__.py", "app/main.py", "app/util/__init__.py", "app/util/text.py", "src/lib/__init__.py", "tools/run.py",
          "tools/helper.py", "packages/x/src/deep/__init__.py", "packages/x/src/deep/core.py",
          "types.pyi", "app/util/types.pyi"]  # fmt: skip
SCRIPT = ["web/app.ts", "web/button.tsx", "web/lib/index.js", "web/data.json", "web/old.mjs", "web/types.d.ts"]
GO = [
    "go.mod",
    "main.go",
    "store/store.go",
    "store/other.go",
    "api/doc.go",
    "api/a.go",
    "log/b.go",
    "log/a.go",
    "log/a_test.go",
    "sub/go.mod",
    "sub/x/x.go",
]
RUST = ["src/main.rs", "src/net.rs", "src/net/tcp.rs", "src/db/mod.rs", "src/db/pool.rs"]
JAVA = ["core/src/com/acme/Store.java", "core/src/com/acme/Use.java", "other/src/com/acme/Store.java"]
C = ["src/a.c", "src/a.h", "include/b.h", "c.h"]
RUBY = ["lib/a.rb", "lib/b/c.rb"]

CASES = [
    ("python", PYTHON, "app/main.py", "app.util.text", "", "app/util/text.py"),
    ("python", PYTHON, "app/main.py", "app.util", "text", "app/util/text.py"),
    ("python", PYTHON, "app/main.py", "app.util", "something", "app/util/__init__.py"),
    ("python", PYTHON, "app/main.py", ".util.text", "name", "app/util/text.py"),
    ("python", PYTHON, "app/util/text.py", "..", "main", "app/main.py"),
    ("python", PYTHON, "app/util/text.py", ".", "types", "app/util/types.pyi"),
    ("python", PYTHON, "app/util/text.py", "types", "", "types.pyi"),
    ("python", PYTHON, "app/main.py", "....x", "y", ""),
    ("python", PYTHON, "app/main.py", "lib", "", "src/lib/__init__.py"),
    ("python", PYTHON, "tools/run.py", "helper", "x", "tools/helper.py"),
    ("python", PYTHON, "app/main.py", "helper", "x", ""),
    ("python", PYTHON, "tools/run.py", "deep.core", "*", "packages/x/src/deep/core.py"),
    ("python", PYTHON, "app/main.py", "os.path", "", ""),
    ("typescript", SCRIPT, "web/app.ts", "./button", "", "web/button.tsx"),
    ("typescript", SCRIPT, "web/app.ts", "./lib", "", "web/lib/index.js"),
    ("typescript", SCRIPT, "web/app.ts", "./types", "", "web/types.d.ts"),
    ("javascript", SCRIPT, "web/lib/index.js", "../app.js", "", "web/app.ts"),
    ("javascript", SCRIPT, "web/lib/index.js", "../data.json", "", "web/data.json"),
    ("javascript", SCRIPT, "web/app.ts", "../../../etc/passwd", "", ""),
    ("javascript", SCRIPT, "web/app.ts", "react", "", ""),
    ("go", GO, "main.go", "acme.org/tool/store", "", "store/store.go"),
    ("go", GO, "main.go", "acme.org/tool/api", "", "api/doc.go"),
    ("go", GO, "main.go", "acme.org/tool/log", "", "log/a.go"),
    ("go", GO, "main.go", "acme.org/tool/sub/x", "", "sub/x/x.go"),
    ("go", GO, "main.go", "fmt", "", ""),
    ("rust", RUST, "src/main.rs", "self", "net", "src/net.rs"),
    ("rust", RUST, "src/net.rs", "self", "tcp", "src/net/tcp.rs"),
    ("rust", RUST, "src/net/tcp.rs", "crate::db::pool::Pool", "", "src/db/pool.rs"),
    ("rust", RUST, "src/db/pool.rs", "super::super::net", "", "src/net.rs"),
    ("rust", RUST, "src/db/mod.rs", "super::net", "", "src/net.rs"),
    ("rust", RUST, "src/net.rs", "crate::VERSION", "", "src/main.rs"),
    ("rust", RUST, "src/net.rs", "std::io", "", ""),
    ("java", JAVA, "core/src/com/acme/Use.java", "com.acme.Store", "", "core/src/com/acme/Store.java"),
    ("java", JAVA, "core/src/com/acme/Use.java", "com.acme.Store.LIMIT", "", "core/src/com/acme/Store.java"),
    ("java", JAVA, "core/src/com/acme/Use.java", "java.util.List", "", ""),
    ("c", C, "src/a.c", "a.h", "", "src/a.h"),
    ("c", C, "src/a.c", "b.h", "", "include/b.h"),
    ("c", C, "src/a.c", "../c.h", "", "c.h"),
    ("c", C, "src/a.c", "<stdio.h>", "", ""),
    ("ruby", RUBY, "lib/b/c.rb", "../a", "require_relative", "lib/a.rb"),
    ("ruby", RUBY, "lib/b/c.rb", "a", "require", ""),
    ("bash", RUBY, "lib/a.sh", "./a.rb", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("language", "paths", "path", "module", "name", "expected"), CASES)
def test_resolve(language: str, paths: list[str], path: str, module: str, name: str, expected: str) -> None:
    """Each form that the contract names leads to its file, and what comes from elsewhere leads nowhere."""
    resolver = Resolver(paths, {"go.mod": "acme.org/tool", "sub/go.mod": "acme.org/tool/sub"})
    assert resolver.resolve(path, language, Import(module, name, 1)) == expected


def test_a_file_never_leads_to_itself() -> None:
    """A module that is named like what it imports would count itself as central."""
    assert Resolver(["json.py"]).resolve("json.py", "python", Import("json", "", 1)) == ""


def test_a_root_that_is_a_package_is_imported_by_its_name() -> None:
    """So the installed folder of a package can be indexed as it is."""
    resolver = Resolver(["__init__.py", "base.py", "tree/__init__.py"], name="sklearn")
    assert resolver.resolve("tree/__init__.py", "python", Import("sklearn.base", "X", 1)) == "base.py"
    assert resolver.resolve("base.py", "python", Import("sklearn", "tree", 1)) == "tree/__init__.py"
    assert Resolver(["base.py"], name="sklearn").resolve("a.py", "python", Import("sklearn.base", "X", 1)) == ""
