//! The files that the program carries. `build.rs` finds them: a new file needs no line of code.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
