/* The rank list of cl100k as bytes of the program: opening it reads no file. */
    .section .rodata
    .balign 16
    .globl tokenizer_cl100k
    .hidden tokenizer_cl100k
tokenizer_cl100k:
    .incbin "tokenizer/data/cl100k.bin"
1:
    .balign 8
    .globl tokenizer_cl100k_bytes
    .hidden tokenizer_cl100k_bytes
tokenizer_cl100k_bytes:
    .quad 1b - tokenizer_cl100k
    .section .note.GNU-stack, "", %progbits
