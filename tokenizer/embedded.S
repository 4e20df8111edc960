/* The rank list of cl100k as bytes of the program: opening it reads no file. */
    .section .rodata
    .balign 16
    .globl tokenizer_cl100k
    .hidden tokenizer_cl100k
tokenizer_cl100k:
    .incbin "tokenizer/data/cl100k.bin"
    .globl tokenizer_cl100k_end
    .hidden tokenizer_cl100k_end
tokenizer_cl100k_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
