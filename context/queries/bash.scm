(function_definition name: (word) @name) @definition.function
(program (variable_assignment name: (variable_name) @name) @definition.variable)
(program (declaration_command (variable_assignment name: (variable_name) @name)
  @definition.variable))

((command
  name: (command_name (word) @_callee)
  . argument: [(word) (concatenation) (string) (raw_string)] @import)
  (#any-of? @_callee "source" "."))

(command_name (word) @reference)
(variable_name) @reference
