(namespace_use_clause (qualified_name) @import.module)
(enum_declaration name: (name) @name) @definition.enum
