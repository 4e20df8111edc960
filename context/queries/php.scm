(class_declaration name: (name) @name) @definition.class
(interface_declaration name: (name) @name) @definition.interface
(trait_declaration name: (name) @name) @definition.interface
(enum_declaration name: (name) @name) @definition.enum
(enum_case name: (name) @name) @definition.constant
(namespace_definition name: (namespace_name) @name) @definition.module
(method_declaration name: (name) @name) @definition.method
(function_definition name: (name) @name) @definition.function
(property_declaration (property_element (variable_name (name) @name))) @definition.field
(const_declaration (const_element (name) @name)) @definition.constant

(namespace_use_clause [(qualified_name) (name)] @import)
(include_expression (_ (string_content) @import))
(include_once_expression (_ (string_content) @import))
(require_expression (_ (string_content) @import))
(require_once_expression (_ (string_content) @import))

(name) @reference
