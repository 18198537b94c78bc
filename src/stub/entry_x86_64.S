/* The stub's header and entry. */
    .section .stub.header, "ax", @progbits
    .ascii "STARSTUB"
    .quad stub_end /* The image is linked at 0: a symbol is its offset, the last one the size. */
    .section .note.GNU-stack, "", @progbits
