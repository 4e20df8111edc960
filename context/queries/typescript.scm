(function_declaration name: (identifier) @name) @definition.function
(generator_function_declaration name: (identifier) @name) @definition.function
(function_signature name: (identifier) @name) @definition.prototype
(class_declaration name: (_) @name) @definition.class
(abstract_class_declaration name: (_) @name) @definition.class
(interface_declaration name: (_) @name) @definition.interface
(type_alias_declaration name: (_) @name) @definition.type
(enum_declaration name: (_) @name) @definition.enum
(enum_body name: (property_identifier) @name @definition.constant)
(enum_assignment name: (property_identifier) @name) @definition.constant
(internal_module name: (_) @name) @definition.namespace
(method_definition name: [(property_identifier) (private_property_identifier)] @name)
  @definition.method
(method_signature name: (property_identifier) @name) @definition.method
(abstract_method_signature name: (property_identifier) @name) @definition.method
(property_signature name: (property_identifier) @name) @definition.field
(public_field_definition name: (property_identifier) @name) @definition.field

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

(import_statement source: (string (string_fragment) @import))
(import_statement
  (import_clause (named_imports) @import.names)
  source: (string (string_fragment) @import))
(import_statement
  (import_clause (identifier) @import.name)
  source: (string (string_fragment) @import))
(export_statement source: (string (string_fragment) @import.onward))
((call_expression
  function: (identifier) @_callee
  arguments: (arguments . (string (string_fragment) @import)))
  (#eq? @_callee "require"))
(call_expression
  function: (import)
  arguments: (arguments . (string (string_fragment) @import)))

[(identifier) (property_identifier) (private_property_identifier) (type_identifier)
 (shorthand_property_identifier)] @reference
