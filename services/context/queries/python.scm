; one capture of a module, and of a name where names are listed
(import_statement name: (dotted_name) @import.module)
(import_statement name: (aliased_import name: (dotted_name) @import.module))
(import_from_statement module_name: (_) @import.module name: (dotted_name) @import.name)
(import_from_statement module_name: (_) @import.module name: (aliased_import name: (dotted_name) @import.name))
(import_from_statement module_name: (_) @import.module (wildcard_import) @import.name)
(module (expression_statement (assignment left: (identifier) @name type: (_)) @definition.constant))
(type_alias_statement left: (type (identifier) @name)) @definition.type
