//! argv to exit code. Everything else is in the library.

fn main() -> std::process::ExitCode {
    difylog::cli::main()
}
