//! The `htap-top` binary.

fn main() -> std::process::ExitCode {
    htap_top::commands::main()
}
