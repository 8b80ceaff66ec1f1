//! Finds out which file defines what a path names: through imports, re-exports and globs, to the real definition.

use std::collections::BTreeSet;

use crate::source::{Crate, Kind, Mention, Module, Name};

/// A file needs another one, which defines what the first one mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) line: usize,
    pub(crate) to: String,
    pub(crate) kind: Kind,
}

/// What a path may name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Definition<'a> {
    Module(usize),
    /// In this file.
    Item(&'a str),
}

type Found<'a> = BTreeSet<Definition<'a>>;

/// The aliases that are being followed, each with its module.
type Aliases<'a> = BTreeSet<(usize, &'a [String])>;

impl Crate {
    /// What each file needs of the others. A module alone is no need: what counts is the names taken from it.
    pub(crate) fn imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        for (at, module) in self.modules.iter().enumerate() {
            for mention in &module.mentions {
                imports.extend(self.needs(at, module, mention));
            }
        }
        imports
    }

    fn needs<'a>(
        &'a self,
        at: usize,
        module: &'a Module,
        mention: &'a Mention,
    ) -> impl Iterator<Item = Import> + 'a {
        let definitions = self.find(at, &mention.path, &mut Aliases::new());
        definitions.into_iter().filter_map(move |definition| match definition {
            Definition::Item(file) if file != module.file => Some(Import {
                from: module.file.clone(),
                line: mention.line,
                to: file.to_owned(),
                kind: mention.kind,
            }),
            Definition::Item(_) | Definition::Module(_) => None,
        })
    }

    /// Everything that a path may name, for code in the module `at`; nothing if it leads out of the crate.
    fn find<'a>(&'a self, at: usize, path: &'a [String], under_way: &mut Aliases<'a>) -> Found<'a> {
        let Some((first, rest)) = path.split_first() else { return Found::new() };
        let mut found = match first.as_str() {
            "crate" => Found::from([Definition::Module(0)]),
            "self" => Found::from([Definition::Module(at)]),
            name => self.look_up(at, name, under_way),
        };
        for name in rest {
            // Behind a type or a trait come its variants and associated items, which are where it is.
            let Some(module) = found.iter().find_map(Definition::module) else { break };
            found = self.look_up(module, name, under_way);
            // What a module does not declare, although code takes it from there, is made by a macro of that module.
            if found.is_empty() && !self.modules[module].names.contains_key(name) {
                found.insert(Definition::Item(&self.modules[module].file));
            }
        }
        found
    }

    fn look_up<'a>(&'a self, at: usize, name: &'a str, under_way: &mut Aliases<'a>) -> Found<'a> {
        let module = &self.modules[at];
        if name == "super" {
            return Found::from([Definition::Module(module.parent)]);
        }
        let Some(declared) = module.names.get(name) else { return self.look_in_globs(at, name, under_way) };
        let mut found = Found::new();
        for declared in declared {
            match declared {
                Name::Module(child) => drop(found.insert(Definition::Module(*child))),
                Name::Item => drop(found.insert(Definition::Item(&module.file))),
                Name::Alias(path) => found.extend(self.follow(at, path, under_way)),
            }
        }
        found
    }

    fn look_in_globs<'a>(&'a self, at: usize, name: &'a str, under_way: &mut Aliases<'a>) -> Found<'a> {
        let mut found = Found::new();
        for glob in &self.modules[at].globs {
            let modules = self.follow(at, glob, under_way);
            for module in modules.iter().filter_map(Definition::module) {
                if under_way.insert((at, glob)) {
                    found.extend(self.look_up(module, name, under_way));
                    under_way.remove(&(at, glob.as_slice()));
                }
            }
        }
        found
    }

    /// Finds what an alias stands for. One that leads back to itself (`pub use name::name`, beside `mod name`) adds
    /// nothing on its second visit.
    fn follow<'a>(&'a self, at: usize, path: &'a [String], under_way: &mut Aliases<'a>) -> Found<'a> {
        if !under_way.insert((at, path)) {
            return Found::new();
        }
        let found = self.find(at, path, under_way);
        under_way.remove(&(at, path));
        found
    }
}

impl Definition<'_> {
    fn module(&self) -> Option<usize> {
        match self {
            Self::Module(module) => Some(*module),
            Self::Item(_) => None,
        }
    }
}
