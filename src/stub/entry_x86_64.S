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
    .quad stub_fast_entry

    /* struct stub_thread (slot.h), asserted in stub.c */
    .set GUEST_RSP, 0
    .set FAST_SP, 8
    .set KICKED, 16

    .text

/*
 * A patched call comes here from its trampoline: rcx is the address behind a `syscall`, as if that had been executed;
 * everything else is as the guest had it. The guest's stack is not touched (red zone). No signal is blocked.
 *
 * Answered: back to rcx, with rcx and r11 as `syscall` leaves them. Not answered: by a trap of the stub's own to the
 * kernel, as if the `syscall` had trapped. The traps are breakpoints, reported at the label behind them: an invalid
 * instruction costs three times as much where the host is a virtual machine itself, whose hypervisor looks at it first.
 *
 * The reserved signal must not be lost between the look at `kicked` and the guest. Its handler moves a thread that it
 * finds from stub_leave_start on back there; at stub_leave_end all registers are the guest's already, and it counts as
 * the guest. The saved flags survive until then: a frame that is made meanwhile lies below the red zone.
 */
    .globl stub_fast_entry
    .globl stub_leave_start
    .globl stub_leave_end
    .globl stub_kicked_trap
    .globl stub_call_trap
    .hidden stub_fast_entry
    .hidden stub_leave_start
    .hidden stub_leave_end
    .hidden stub_kicked_trap
    .hidden stub_call_trap
stub_fast_entry:
    movq %rsp, %gs:GUEST_RSP
    movq %gs:FAST_SP, %rsp
    leaq 8(%rsp), %rsp
    pushfq
    cld
    pushq %rcx
    pushq %rax
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %r9
    pushq %r8
    pushq %r10
    pushq %rdx
    pushq %rsi
    pushq %rdi
    movq %rsp, %rdi
    call stub_fast
    movl %eax, %r11d
    popq %rdi
    popq %rsi
    popq %rdx
    popq %r10
    popq %r8
    popq %r9
    addq $48, %rsp /* stub_fast has kept these */
    popq %rax
    popq %rcx
    testl %r11d, %r11d
    jz 1f
stub_leave_start:
    movq %gs:FAST_SP, %rsp
    movq (%rsp), %r11
    cmpl $0, %gs:KICKED
    jne 2f
    popfq
    movq %gs:GUEST_RSP, %rsp
stub_leave_end:
    jmp *%rcx
1:
    popfq
    movq %gs:GUEST_RSP, %rsp
    int3 /* its handler reports the call: not a step outside, where the reserved signal could come between */
stub_call_trap:
    ud2
2:
    popfq
    movq %gs:GUEST_RSP, %rsp
    int3 /* its handler reports a kick at rcx, with all registers */
stub_kicked_trap:
    ud2

/*
 * uint64_t stub_copy_string(char *to, const char *from, uint64_t size): the bytes up to the NUL and it, at most `size`;
 * their count, 0 when no NUL came. `from` is the guest's: a fault there gives 0 too.
 */
    .globl stub_copy_string
    .globl stub_copy_bytes
    .globl stub_copy_end
    .globl stub_copy_fault
    .hidden stub_copy_string
    .hidden stub_copy_bytes
    .hidden stub_copy_end
    .hidden stub_copy_fault
stub_copy_string:
    xorl %eax, %eax
1:
    cmpq %rdx, %rax
    jae stub_copy_fault
    movb (%rsi,%rax), %cl
    movb %cl, (%rdi,%rax)
    incq %rax
    testb %cl, %cl
    jnz 1b
    ret
/* int stub_copy_bytes(void *to, const void *from, uint64_t size) */
stub_copy_bytes:
    movq %rdx, %rcx
    rep movsb
    movl $1, %eax
    ret
stub_copy_end:
stub_copy_fault:
    xorl %eax, %eax
    ret

/* void stub_reframe(void): the trap's frame holds the guest's extended state, which is still in the registers; the
 * handler goes on from there (stub.c). */
    .globl stub_reframe
    .globl stub_reframe_trap
    .hidden stub_reframe
    .hidden stub_reframe_trap
stub_reframe:
    int3
stub_reframe_trap:
    ud2

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
