(class_specifier name: [(type_identifier) @name
    (template_type name: (type_identifier) @name)
    (qualified_identifier name: (type_identifier) @name)] body: (_)) @definition.class
(struct_specifier name: [(type_identifier) @name
    (template_type name: (type_identifier) @name)
    (qualified_identifier name: (type_identifier) @name)] body: (_)) @definition.struct
(union_specifier name: (type_identifier) @name body: (_)) @definition.union
(enum_specifier name: (type_identifier) @name body: (_)) @definition.enum
(enumerator name: (identifier) @name) @definition.constant
(concept_definition name: (identifier) @name) @definition.concept
(namespace_definition name: (namespace_identifier) @name) @definition.module
(alias_declaration name: (type_identifier) @name) @definition.type

(function_definition
  declarator: [
    (function_declarator declarator: [(field_identifier) (destructor_name) (operator_name)] @name)
    (_ (function_declarator declarator: [(field_identifier) (operator_name)] @name))
    (function_declarator declarator: (qualified_identifier
      name: [(identifier) (destructor_name) (operator_name)] @name))
    (_ (function_declarator declarator: (qualified_identifier
      name: [(identifier) (operator_name)] @name)))
    (function_declarator declarator: (qualified_identifier
      name: (qualified_identifier name: [(identifier) (destructor_name) (operator_name)] @name)))
    (_ (function_declarator declarator: (qualified_identifier
      name: (qualified_identifier name: [(identifier) (operator_name)] @name))))
    (function_declarator declarator: (qualified_identifier name: (qualified_identifier
      name: (qualified_identifier name: [(identifier) (destructor_name) (operator_name)] @name))))
    (_ (function_declarator declarator: (qualified_identifier name: (qualified_identifier
      name: (qualified_identifier name: [(identifier) (operator_name)] @name)))))
  ]) @definition.method

(field_declaration
  declarator: [
    (function_declarator declarator: [(field_identifier) (operator_name)] @name)
    (_ (function_declarator declarator: [(field_identifier) (operator_name)] @name))
  ]) @definition.method

(field_declaration_list
  (function_definition declarator: (function_declarator declarator: (identifier) @name))
  @definition.method)
(field_declaration_list
  (declaration declarator: (function_declarator declarator: [(identifier) (destructor_name)] @name))
  @definition.method)

(function_definition
  declarator: [
    (function_declarator declarator: (identifier) @name)
    (_ (function_declarator declarator: (identifier) @name))
    (_ (_ (function_declarator declarator: (identifier) @name)))
  ]) @definition.function

(declaration
  declarator: [
    (function_declarator declarator: (identifier) @name)
    (pointer_declarator (function_declarator declarator: (identifier) @name))
    (reference_declarator (function_declarator declarator: (identifier) @name))
    (pointer_declarator (pointer_declarator (function_declarator declarator: (identifier) @name)))
  ]) @definition.prototype

(field_declaration declarator: [
    (field_identifier) @name
    (pointer_declarator (field_identifier) @name)
    (reference_declarator (field_identifier) @name)
    (array_declarator (field_identifier) @name)]) @definition.field

(type_definition
  declarator: [
    (type_identifier) @name
    (pointer_declarator (type_identifier) @name)
    (array_declarator (type_identifier) @name)
    (function_declarator declarator: (type_identifier) @name)
    (function_declarator declarator: (parenthesized_declarator [
      (type_identifier) @name
      (pointer_declarator (type_identifier) @name)]))
    (pointer_declarator (function_declarator declarator: (parenthesized_declarator
      (pointer_declarator (type_identifier) @name))))
  ]) @definition.type

(preproc_def name: (identifier) @name) @definition.macro
(preproc_function_def name: (identifier) @name) @definition.macro

(translation_unit
  (declaration
    declarator: [
      (identifier) @name
      (array_declarator (identifier) @name)
      (pointer_declarator (identifier) @name)
      (init_declarator
        declarator: [
          (identifier) @name
          (array_declarator (identifier) @name)
          (array_declarator (array_declarator (identifier) @name))
          (pointer_declarator (identifier) @name)
          (reference_declarator (identifier) @name)
          (array_declarator (pointer_declarator (identifier) @name))
        ])
    ]) @definition.variable)
(namespace_definition body: (declaration_list
  (declaration
    declarator: [
      (identifier) @name
      (init_declarator
        declarator: [
          (identifier) @name
          (array_declarator (identifier) @name)
          (pointer_declarator (identifier) @name)
        ])
    ]) @definition.variable))

(preproc_include path: (_) @import)
(using_declaration [(qualified_identifier) (identifier)] @import)

[(identifier) (type_identifier) (field_identifier) (namespace_identifier)] @reference
