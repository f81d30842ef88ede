//! The binary: hands the command line to [`grps::cli`] and exits with its code.

use std::process::ExitCode;

/// Group commits allocate and free many small records from several threads; this allocator is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    grps::cli::main()
}
