/* The tag queries as bytes of the program, each with a NUL behind it. */
    .macro query name
    .globl tag_query_\name
    .hidden tag_query_\name
tag_query_\name:
    .incbin "context/queries/\name\().scm"
    .byte 0
    .endm

    .section .rodata
    query bash
    query c
    query cpp
    query csharp
    query go
    query java
    query javascript
    query lua
    query php
    query python
    query ruby
    query rust
    query typescript
    .section .note.GNU-stack, "", %progbits
