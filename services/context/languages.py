"""Which language a file is in, by its name or first line, and which tree-sitter grammar reads it."""

from collections.abc import Iterable
from dataclasses import dataclass

OTHER = "text"


@dataclass(frozen=True)
class Grammar:
    """A tree-sitter grammar: the module of its wheel, the function that gives it, and the wheels whose tags.scm fit it."""

    module: str
    function: str = "language"
    tags: tuple[str, ...] = ()
    # our own queries in queries/<name>.scm: imports everywhere, definitions that tags.scm leaves out
    queries: tuple[str, ...] = ()


GRAMMARS = {
    "bash": Grammar("tree_sitter_bash", queries=("bash",)),
    "c": Grammar("tree_sitter_c", tags=("tree_sitter_c",), queries=("c",)),
    "cpp": Grammar("tree_sitter_cpp", tags=("tree_sitter_cpp",), queries=("c", "cpp")),
    "csharp": Grammar("tree_sitter_c_sharp", tags=("tree_sitter_c-sharp",), queries=("csharp",)),
    "go": Grammar("tree_sitter_go", tags=("tree_sitter_go",), queries=("go",)),
    "java": Grammar("tree_sitter_java", tags=("tree_sitter_java",), queries=("java",)),
    "javascript": Grammar("tree_sitter_javascript", tags=("tree_sitter_javascript",), queries=("javascript",)),
    "markdown": Grammar("tree_sitter_markdown", queries=("markdown",)),
    "php": Grammar("tree_sitter_php", "language_php", tags=("tree_sitter_php",), queries=("php",)),
    "python": Grammar("tree_sitter_python", tags=("tree_sitter_python",), queries=("python",)),
    "ruby": Grammar("tree_sitter_ruby", tags=("tree_sitter_ruby",), queries=("ruby",)),
    "rust": Grammar("tree_sitter_rust", tags=("tree_sitter_rust",), queries=("rust",)),
    "typescript": Grammar(
        "tree_sitter_typescript",
        "language_typescript",
        tags=("tree_sitter_javascript", "tree_sitter_typescript"),
        queries=("javascript", "typescript"),
    ),
    "tsx": Grammar(
        "tree_sitter_typescript",
        "language_tsx",
        tags=("tree_sitter_javascript", "tree_sitter_typescript"),
        queries=("javascript", "typescript"),
    ),
}

_SUFFIXES = {
    "bash": ".sh .bash .zsh .bats",
    "c": ".c .h",
    "cpp": ".cc .cpp .cxx .c++ .hh .hpp .hxx .h++ .inl",
    "csharp": ".cs",
    "css": ".css .scss .less",
    "go": ".go",
    "html": ".html .htm .xhtml",
    "java": ".java",
    "javascript": ".js .mjs .cjs .jsx",
    "json": ".json .jsonl .geojson",
    "markdown": ".md .markdown",
    "php": ".php",
    "protobuf": ".proto",
    "python": ".py .pyi .pyw",
    "ruby": ".rb .rake .gemspec",
    "rust": ".rs",
    "sql": ".sql",
    "toml": ".toml",
    "typescript": ".ts .mts .cts .tsx",
    "xml": ".xml .svg .xsd",
    "yaml": ".yaml .yml",
}
_LANGUAGE_OF_SUFFIX = {suffix: language for language, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_LANGUAGE_OF_NAME = {
    "dockerfile": "dockerfile",
    "gemfile": "ruby",
    "gnumakefile": "makefile",
    "go.mod": "gomod",
    "makefile": "makefile",
    "rakefile": "ruby",
}
_LANGUAGE_OF_INTERPRETER = {"bash": "bash", "node": "javascript", "php": "php", "python": "python", "ruby": "ruby", "sh": "bash"}


def language_of(name: str, head: bytes = b"") -> str:
    """The language of a file by its name, else by the "#!" line that it begins with; "text" when neither tells."""
    lowered = name.lower()
    if language := _LANGUAGE_OF_NAME.get(lowered):
        return language
    _, dot, suffix = lowered.rpartition(".")
    if dot:
        return _LANGUAGE_OF_SUFFIX.get(dot + suffix, OTHER)
    return _by_interpreter(head)


def _by_interpreter(head: bytes) -> str:
    if not head.startswith(b"#!"):
        return OTHER
    words = head[2:].split(b"\n", 1)[0].decode("ascii", "replace").split()
    names = [word.rpartition("/")[2] for word in words if not word.startswith("-")]
    program = next((name for name in names if name != "env"), "").rstrip("0123456789.")
    return _LANGUAGE_OF_INTERPRETER.get(program, OTHER)


def grammar_of(language: str, name: str) -> str:
    """The key in GRAMMARS that reads such a file; "" when none does."""
    if language == "typescript" and name.lower().endswith(".tsx"):
        return "tsx"
    return language if language in GRAMMARS else ""


def known_languages() -> Iterable[str]:
    """Every name that language_of can give, sorted."""
    return sorted({*_SUFFIXES, *_LANGUAGE_OF_NAME.values(), OTHER})
