(use_declaration argument: (_) @import.use)
(mod_item name: (identifier) @import.mod !body)
(enum_item name: (type_identifier) @name) @definition.enum
(type_item name: (type_identifier) @name) @definition.type
(const_item name: (identifier) @name) @definition.constant
(static_item name: (identifier) @name) @definition.constant
