/* Embeds the linked stub image (build/src/stub/stub.bin) in the kernel process's read-only data. */
    .section .rodata.stub_blob, "a", @progbits
    .globl stub_blob_start
    .hidden stub_blob_start
    .globl stub_blob_end
    .hidden stub_blob_end
    .balign 64
    .type stub_blob_start, @object
stub_blob_start:
    .incbin "stub.bin"
stub_blob_end:
    .size stub_blob_start, stub_blob_end - stub_blob_start
    .section .note.GNU-stack, "", @progbits
