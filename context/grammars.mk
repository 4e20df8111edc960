# tree-sitter's core and grammars: npm packages of context/grammars/, compiled into the library.
GRAMMAR_OBJECTS :=
