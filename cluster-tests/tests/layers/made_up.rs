//! The rules of the layers test, on small made-up sources.

use crate::breaches_of_floors;
use crate::graph::Graph;
use crate::names::Import;
use crate::source::{Crate, Files, Kind};

/// The imports of a crate of these files, below `src`. Re-exports are left out, as they are in cycles.
fn imports(files: &[(&str, &str)]) -> Vec<Import> {
    let files: Files = files.iter().map(|(file, text)| (format!("src/{file}"), (*text).to_owned())).collect();
    let mut imports = Crate::read("src/lib.rs", &files).imports();
    imports.retain(|import| import.kind != Kind::ReExport);
    imports
}

/// In short: `from:line to`, each once.
fn short(imports: &[Import]) -> Vec<String> {
    let name = |file: &str| file.trim_start_matches("src/").trim_end_matches(".rs").to_owned();
    let mut short: Vec<_> = imports
        .iter()
        .map(|import| format!("{}:{} {}", name(&import.from), import.line, name(&import.to)))
        .collect();
    short.dedup();
    short
}

/// What the module `m` imports, beside `a` with its child `a::b`, and `c` with its child.
fn imports_of(source: &str) -> Vec<String> {
    short(&imports(&[
        ("lib.rs", "mod a;\nmod c;\nmod m;"),
        ("a.rs", "pub mod b;\npub struct A;\npub fn a() {}"),
        ("a/b.rs", "pub enum B { One }\npub const LIMIT: u8 = 1;\npub fn f() {}"),
        ("c.rs", "pub struct C;\npub trait Trait {}"),
        ("m.rs", source),
    ]))
}

#[test]
fn every_form_of_use_is_an_import() {
    assert_eq!(imports_of("use crate::a::A;"), ["m:1 a"]);
    assert_eq!(imports_of("use super::a::A;"), ["m:1 a"]);
    assert_eq!(
        imports_of("use crate::{\n    a::{A, b::{self, B}},\n    c::C as D,\n};"),
        ["m:2 a", "m:2 a/b", "m:3 c"]
    );
    assert_eq!(imports_of("use crate::c::Trait as _;"), ["m:1 c"]);
    assert_eq!(imports_of("fn f() {\n    use crate::c::C;\n}"), ["m:2 c"]);
    assert_eq!(imports_of("use crate::a::b::B::*;"), ["m:1 a/b"]);
}

#[test]
fn a_path_in_the_code_is_an_import() {
    assert_eq!(imports_of("fn f() {\n    crate::a::b::f();\n}"), ["m:2 a/b"]);
    assert_eq!(imports_of("fn f(_: super::c::C) {}"), ["m:1 c"]);
    assert_eq!(imports_of("struct S {\n    c: Vec<crate::c::C>,\n}"), ["m:2 c"]);
    assert_eq!(imports_of("impl crate::c::Trait for S {}"), ["m:1 c"]);
    assert_eq!(imports_of("fn f() {\n    match x { crate::a::b::B::One => {} }\n}"), ["m:2 a/b"]);
    assert_eq!(imports_of("mod inner {\n    fn f(_: super::super::c::C) {}\n}"), ["m:2 c"]);
    assert_eq!(imports_of("mod inner {\n    pub(in crate::a) struct S;\n}"), [""; 0]);
}

#[test]
fn a_path_among_the_tokens_of_a_macro_is_an_import() {
    assert_eq!(imports_of("fn f() {\n    assert!(crate::a::b::f() && x.f());\n}"), ["m:2 a/b"]);
    assert_eq!(imports_of("macro_rules! m {\n    () => { $crate::c::C }\n}"), ["m:2 c"]);
    assert_eq!(
        imports_of("macro_rules! m {\n    () => { use $crate::{a::A, c::C}; }\n}"),
        ["m:2 a", "m:2 c"]
    );
}

#[test]
fn an_imported_module_counts_where_a_name_is_taken_from_it() {
    assert_eq!(imports_of("use crate::a::b;\nfn f() {\n    b::f();\n}"), ["m:3 a/b"]);
    assert_eq!(imports_of("use crate::a;\nfn f() {\n    a::b::f();\n}"), ["m:3 a/b"]);
    assert_eq!(imports_of("use crate::a;"), [""; 0]);
}

#[test]
fn a_name_from_a_glob_counts_where_it_is_mentioned() {
    assert_eq!(imports_of("use crate::a::b::*;\nfn f() -> u8 {\n    LIMIT\n}"), ["m:3 a/b"]);
    assert_eq!(imports_of("use crate::a::b::*;\nfn f() {\n    print!(B::One);\n}"), ["m:3 a/b"]);
}

#[test]
fn tests_comments_strings_and_other_crates_are_no_imports() {
    assert_eq!(imports_of("#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}"), [""; 0]);
    assert_eq!(imports_of("#[cfg(test)]\nmod tests;"), [""; 0]);
    assert_eq!(imports_of("impl S {\n    #[cfg(test)]\n    fn f(_: crate::a::A) {}\n}"), [""; 0]);
    assert_eq!(
        imports_of("/// As [`crate::a::A`].\n// crate::c::C\nconst S: &str = \"crate::c::C\";"),
        [""; 0]
    );
    assert_eq!(imports_of("use a::A;\nuse ::c::C;\nfn f() {\n    std::mem::drop(c::C);\n}"), [""; 0]);
}

#[test]
fn code_of_a_feature_is_code() {
    let source = "#[cfg(any(test, feature = \"testing\"))]\nuse crate::a::A;";
    assert_eq!(imports_of(source), ["m:2 a"]);
}

#[test]
fn a_re_export_leads_to_the_definition() {
    let through = |facade: &str| {
        let user = "use crate::facade::Named;";
        short(&imports(&[
            ("lib.rs", "mod facade;\nmod user;"),
            ("facade.rs", facade),
            ("facade/deep.rs", "pub mod deeper;\npub use deeper::*;\npub fn unused() {}"),
            ("facade/deep/deeper.rs", "pub struct Named;\npub struct Other;"),
            ("user.rs", user),
        ]))
    };
    assert_eq!(through("mod deep;\npub use deep::deeper::Named;"), ["user:1 facade/deep/deeper"]);
    assert_eq!(through("mod deep;\npub(crate) use self::deep::Named;"), ["user:1 facade/deep/deeper"]);
    assert_eq!(through("mod deep;\npub use deep::*;"), ["user:1 facade/deep/deeper"]);
    assert_eq!(
        through("mod deep;\npub use crate::facade::deep::Other as Named;"),
        ["user:1 facade/deep/deeper"]
    );
    assert_eq!(
        through("mod deep;\nuse deep::Named;\npub type Used = Named;")[2],
        "user:1 facade/deep/deeper"
    );
}

#[test]
fn a_name_may_be_a_module_and_a_function() {
    let found = imports(&[
        ("lib.rs", "mod facade;\nmod user;"),
        ("facade.rs", "mod name;\npub use name::{Type, name};"),
        ("facade/name.rs", "pub struct Type;\npub fn name() {}"),
        ("user.rs", "use crate::facade::name;\nuse crate::facade::Type;"),
    ]);
    assert_eq!(short(&found), ["user:1 facade/name", "user:2 facade/name"]);
}

#[test]
fn globs_that_lead_to_each_other_come_to_an_end() {
    let found = imports(&[
        ("lib.rs", "mod a;\nmod b;\nmod user;"),
        ("a.rs", "pub use crate::b::*;\npub struct A;"),
        ("b.rs", "pub use crate::a::*;\npub struct B;"),
        ("user.rs", "use crate::b::A;\nuse crate::a::B;"),
    ]);
    assert_eq!(short(&found), ["user:1 a", "user:2 b"]);
}

#[test]
fn what_a_macro_makes_is_defined_where_the_macro_is_called() {
    let found = imports(&[
        ("lib.rs", "mod ids;\nmod user;"),
        ("ids.rs", "macro_rules! id { ($name:ident) => { pub struct $name; } }\nid!(NodeId);"),
        ("user.rs", "use crate::ids::NodeId;"),
    ]);
    assert_eq!(short(&found), ["user:1 ids"]);
}

/// The graph of a crate of these files, and its cycles.
fn cycles(files: &[(&str, &str)]) -> (Graph, Vec<Vec<String>>) {
    let mut graph = Graph::default();
    for Import { from, line, to, .. } in imports(files) {
        graph.add(&from, line, &to);
    }
    let cycles =
        graph.cycles().into_iter().map(|cycle| cycle.into_iter().map(str::to_owned).collect()).collect();
    (graph, cycles)
}

#[test]
fn a_facade_and_its_children_are_no_cycle() {
    let (_, found) = cycles(&[
        ("lib.rs", "mod layer;"),
        ("layer.rs", "mod one;\nmod two;\npub use one::One;\npub(crate) use two::*;"),
        ("layer/one.rs", "use super::Two;\npub struct One(Two);"),
        ("layer/two.rs", "pub struct Two;"),
    ]);
    assert_eq!(found, [[""; 0]; 0]);
}

#[test]
fn a_parent_that_uses_a_child_which_uses_it_is_a_cycle() {
    let child = ("layer/one.rs", "use super::Config;\npub struct One(Config);");
    let parent = "mod one;\npub struct Config;\npub fn f() -> one::One { todo!() }";
    let (_, found) = cycles(&[("lib.rs", "mod layer;"), ("layer.rs", parent), child]);
    assert_eq!(found, [["src/layer.rs", "src/layer/one.rs"]]);
    let parent = "mod one;\npub struct Config;\npub use one::One;";
    let (_, found) = cycles(&[("lib.rs", "mod layer;"), ("layer.rs", parent), child]);
    assert_eq!(found, [[""; 0]; 0], "it only declares the child and passes its name on");
    let parent = "mod one;\npub struct Config;\npub use one::One;\nfn f(_: One) {}";
    let (_, found) = cycles(&[("lib.rs", "mod layer;"), ("layer.rs", parent), child]);
    assert_eq!(found.len(), 1, "it passes the name on and uses it");
}

#[test]
fn a_cycle_is_found_across_re_exports_and_shown_with_its_best_cut() {
    let (graph, found) = cycles(&[
        ("lib.rs", "mod a;\nmod b;\nmod c;\nmod facade;"),
        ("facade.rs", "pub use crate::c::C;"),
        ("a.rs", "use crate::b::B;\npub struct A(B);"),
        ("b.rs", "use crate::facade::C;\n\npub struct B(C);\nfn f(_: crate::a::A) {}"),
        ("c.rs", "pub struct C(Box<crate::a::A>);"),
    ]);
    assert_eq!(found, [["src/a.rs", "src/b.rs", "src/c.rs"]]);
    let cycles = graph.cycles();
    let expected = "its shortest chain:\n\
        \x20 src/a.rs:1 imports src/b.rs\n\
        \x20 src/b.rs:4 imports src/a.rs\n\
        imports without which it is gone, the best first:\n\
        \x20 src/a.rs -> src/b.rs, lines {1, 2}: 0 files stay in cycles\n";
    assert_eq!(graph.describe(&cycles[0]), expected);
}

#[test]
fn cycles_that_do_not_meet_are_told_apart() {
    let mut graph = Graph::default();
    for (from, to) in [("a", "b"), ("b", "a"), ("b", "c"), ("c", "d"), ("d", "e"), ("e", "c"), ("e", "f")] {
        graph.add(from, 1, to);
    }
    let cycles: Vec<Vec<_>> = graph.cycles().into_iter().map(|cycle| cycle.into_iter().collect()).collect();
    assert_eq!(cycles, [vec!["c", "d", "e"], vec!["a", "b"]]);
}

#[test]
fn floors_import_only_from_the_floors_they_are_allowed() {
    let found = imports(&[
        ("lib.rs", "mod layer;\nmod other;"),
        ("other.rs", "pub struct Other;"),
        ("layer.rs", "mod low;\nmod high;\npub struct Layer;"),
        ("layer/low.rs", "mod part;\nuse crate::other::Other;\nuse super::high::High;"),
        ("layer/low/part.rs", "use crate::layer::Layer;"),
        ("layer/high.rs", "use super::low::Low;\npub struct High;"),
    ]);
    let breaches = breaches_of_floors("layer", &[("low", &[]), ("high", &["low"])], &found);
    let expected = [
        "src/layer/low.rs:3: low imports high (src/layer/high.rs)",
        "src/layer/low/part.rs:1: low imports layer (src/layer.rs)",
    ];
    assert_eq!(breaches, expected);
    let breaches = breaches_of_floors("layer", &[("low", &["high", "layer"])], &found);
    assert_eq!(breaches, ["src/layer/high.rs: no floor of layer is called \"high\""]);
}
