//! Rebuilds when an embedded tool changes.
#![allow(clippy::print_stdout)]

fn main() {
    println!("cargo::rerun-if-changed=library");
}
