((call method: (identifier) @import.name arguments: (argument_list . (string (string_content) @import.module)))
 (#any-of? @import.name "require" "require_relative"))
(program (assignment left: (constant) @name) @definition.constant)
