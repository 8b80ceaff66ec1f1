//! The mistakes users make, and what the compiler says of them.
//!
//! `TRYBUILD=overwrite cargo test -p cluster-tests --features compile-fail --test compile_fail` writes down what it says now.

#[test]
fn the_compiler_says_what_is_wrong() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
