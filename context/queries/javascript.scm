(function_declaration name: (identifier) @name) @definition.function
(generator_function_declaration name: (identifier) @name) @definition.function
(class_declaration name: (_) @name) @definition.class
(method_definition name: [(property_identifier) (private_property_identifier)] @name)
  @definition.method

(variable_declarator
  name: (identifier) @name
  value: [(arrow_function) (function_expression) (generator_function)]) @definition.function

(program (lexical_declaration "const" (variable_declarator name: (identifier) @name)
  @definition.constant))
(export_statement (lexical_declaration "const" (variable_declarator name: (identifier) @name)
  @definition.constant))
(program (lexical_declaration (variable_declarator name: (identifier) @name)
  @definition.variable))
(export_statement (lexical_declaration (variable_declarator name: (identifier) @name)
  @definition.variable))

(assignment_expression
  left: (member_expression property: (property_identifier) @name)
  right: [(arrow_function) (function_expression)]) @definition.function

(import_statement source: (string (string_fragment) @import))
(import_statement
  (import_clause (named_imports) @import.names)
  source: (string (string_fragment) @import))
(import_statement
  (import_clause (identifier) @import.name)
  source: (string (string_fragment) @import))
(export_statement source: (string (string_fragment) @import.onward))
((assignment_expression
  left: (member_expression
    object: (identifier) @_module property: (property_identifier) @_exports)
  right: (call_expression
    function: (identifier) @_callee
    arguments: (arguments . (string (string_fragment) @import.onward))))
  (#eq? @_module "module") (#eq? @_exports "exports") (#eq? @_callee "require"))
((call_expression
  function: (identifier) @_callee
  arguments: (arguments . (string (string_fragment) @import)))
  (#eq? @_callee "require"))
(call_expression
  function: (import)
  arguments: (arguments . (string (string_fragment) @import)))

[(identifier) (property_identifier) (private_property_identifier)
 (shorthand_property_identifier)] @reference
