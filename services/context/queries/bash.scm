(function_definition name: (word) @name) @definition.function
((command name: (command_name) @called argument: (word) @import.module)
 (#any-of? @called "source" "."))
