(function_definition
  declarator: [
    (function_declarator declarator: (identifier) @name)
    (pointer_declarator (function_declarator declarator: (identifier) @name))
    (pointer_declarator (pointer_declarator (function_declarator declarator: (identifier) @name)))
  ]) @definition.function

(declaration
  declarator: [
    (function_declarator declarator: (identifier) @name)
    (pointer_declarator (function_declarator declarator: (identifier) @name))
    (pointer_declarator (pointer_declarator (function_declarator declarator: (identifier) @name)))
  ]) @definition.prototype

(struct_specifier name: (type_identifier) @name body: (_)) @definition.struct
(union_specifier name: (type_identifier) @name body: (_)) @definition.union
(enum_specifier name: (type_identifier) @name body: (_)) @definition.enum
(enumerator name: (identifier) @name) @definition.constant

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
          (pointer_declarator (array_declarator (identifier) @name))
          (array_declarator (pointer_declarator (identifier) @name))
        ])
    ]) @definition.variable)

(preproc_include path: (_) @import)

[(identifier) (type_identifier) (field_identifier)] @reference
