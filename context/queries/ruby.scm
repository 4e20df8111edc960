(class name: [(constant) @name (scope_resolution name: (_) @name)]) @definition.class
(module name: [(constant) @name (scope_resolution name: (_) @name)]) @definition.module
(class body: (body_statement (method name: (_) @name) @definition.method))
(module body: (body_statement (method name: (_) @name) @definition.method))
(singleton_method name: (_) @name) @definition.method
(method name: (_) @name) @definition.function
(alias name: (_) @name) @definition.method
(assignment left: (constant) @name) @definition.constant
((call method: (identifier) @_attribute arguments: (argument_list (simple_symbol) @name))
  @definition.property
  (#any-of? @_attribute "attr_accessor" "attr_reader" "attr_writer"))

((call method: (identifier) @_require arguments: (argument_list (string (string_content) @import)))
  (#any-of? @_require "require" "require_relative" "load"))

[(identifier) (constant)] @reference
