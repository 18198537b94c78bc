/*
 * The stub's header, entries and the two places where it must not be interrupted in the middle of a decision. No code
 * here knows an address: everything is relative to rip or found from the stack (a thread's stub stack is aligned to its
 * size, with struct stub_thread at its base).
 */
    .section .stub.header, "ax", @progbits
    .ascii "STARSTUB"
    .quad stub_end /* The image is linked at 0: a symbol is its offset, the last one the size. */
    .quad stub_start_entry
    .quad stub_handler
    .quad stub_restorer

    .text

/* The zygote jumps here with rsp near the top of slot 0's stub stack. */
    .globl stub_start_entry
    .hidden stub_start_entry
stub_start_entry:
    movq %rsp, %rdi
    andq $-0x10000, %rdi
    andq $-16, %rsp
    xorl %ebp, %ebp
    call stub_begin
    ud2

/* SA_RESTORER: the handler returned, rsp points to the ucontext. */
    .globl stub_restorer
    .hidden stub_restorer
stub_restorer:
    movl $15, %eax /* rt_sigreturn */
    syscall
    ud2

/* void stub_sigreturn(void *ucontext): leaves the stub through a frame that it made or copied itself. */
    .globl stub_sigreturn
    .hidden stub_sigreturn
stub_sigreturn:
    movq %rdi, %rsp
    movl $15, %eax
    syscall
    ud2

/*
 * long stub_clone(flags, stack, parent_tid, child_tid, tls): clone(2). A child with a stack of its own starts in
 * stub_child(struct stub_thread *); one without returns 0 like fork.
 */
    .globl stub_clone
    .hidden stub_clone
stub_clone:
    movq %rcx, %r10
    movq %rsi, %r9 /* kept: was a stack given? */
    movl $56, %eax
    syscall
    testq %rax, %rax
    jnz 1f
    testq %r9, %r9
    jz 1f
    movq %rsp, %rdi
    andq $-0x10000, %rdi
    andq $-16, %rsp
    xorl %ebp, %ebp
    call stub_child
    ud2
1:
    ret

/*
 * long stub_blocking_call(struct slot_call *call, uint64_t args[6], volatile uint32_t *kicked)
 *
 * One host call that the reserved signal must be able to end. The signal is unblocked here. If it comes before the
 * `syscall` instruction the handler finds rip inside the window and moves it to the abort label; if it comes in the call, the
 * host ends the call with -EINTR itself. So it cannot slip in between the look at *kicked and the call.
 */
    .globl stub_blocking_call
    .globl stub_window_start
    .globl stub_window_end
    .globl stub_window_abort
    .hidden stub_blocking_call
    .hidden stub_window_start
    .hidden stub_window_end
    .hidden stub_window_abort
stub_blocking_call:
    movq %rdx, %rcx /* kicked */
    movq (%rdi), %rax
    movq %rsi, %r11
    movq 0(%r11), %rdi
    movq 8(%r11), %rsi
    movq 16(%r11), %rdx
    movq 24(%r11), %r10
    movq 32(%r11), %r8
    movq 40(%r11), %r9
stub_window_start:
    cmpl $0, (%rcx)
    jne stub_window_abort
stub_window_end: /* the signal handler treats rip == here (not yet executed) as inside */
    syscall
    ret
stub_window_abort:
    movq $-4, %rax /* -EINTR */
    ret

    .section .note.GNU-stack, "", @progbits
