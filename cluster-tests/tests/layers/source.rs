//! What the files of a crate say: their modules, the names that each module declares, and the paths that it mentions.
//! Only syntax; `names.rs` finds out what a path means.

use std::collections::BTreeMap;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{
    Attribute, ExprAsync, ExprAwait, ImplItem, Item, ItemMod, ItemUse, Macro, Meta, Signature, UseTree,
    VisRestricted, Visibility,
};

/// The text of each file, by its path from the root of the workspace.
pub(crate) type Files = BTreeMap<String, String>;

/// One crate: the modules that its root file reaches. Code under `#[cfg(test)]` is not part of it.
#[derive(Debug)]
pub(crate) struct Crate {
    /// The first one is the root.
    pub(crate) modules: Vec<Module>,
}

#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) file: String,
    /// The root is its own parent.
    pub(crate) parent: usize,
    /// Types, values, macros and modules share this table: one name may stand for several of them.
    pub(crate) names: BTreeMap<String, Vec<Name>>,
    /// What `use path::*` brings in.
    pub(crate) globs: Vec<Path>,
    pub(crate) mentions: Vec<Mention>,
    /// The lines with `async` or `.await`.
    pub(crate) asynchronous: Vec<usize>,
}

#[derive(Debug, Clone)]
pub(crate) enum Name {
    Module(usize),
    /// Anything else that this module defines itself.
    Item,
    /// What a `use` names.
    Alias(Path),
}

/// The segments of a path, without generic arguments.
pub(crate) type Path = Vec<String>;

/// A path in the code.
#[derive(Debug, Clone)]
pub(crate) struct Mention {
    pub(crate) path: Path,
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A private `use`.
    Import,
    /// A `use` with a visibility: it passes a name on, and the module needs it only if its code mentions it.
    ReExport,
    /// A path in an expression, a type, a pattern or the tokens of a macro.
    Code,
}

impl Crate {
    /// Reads the crate with this root file.
    pub(crate) fn read(root: &str, files: &Files) -> Self {
        let mut reader = Reader { files, modules: Vec::new(), current: 0, folder: folder(root).to_owned() };
        reader.file(root, 0);
        Self { modules: reader.modules }
    }
}

/// Walks through the syntax trees, from the root file to the files that it declares.
struct Reader<'a> {
    files: &'a Files,
    modules: Vec<Module>,
    current: usize,
    /// Where `mod name;` looks for its file.
    folder: String,
}

impl Reader<'_> {
    fn file(&mut self, path: &str, parent: usize) -> usize {
        let text = self.files.get(path).unwrap_or_else(|| panic!("{path} is declared and does not exist"));
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        self.module(path, parent, &syntax.items)
    }

    fn module(&mut self, file: &str, parent: usize, items: &[Item]) -> usize {
        let module = self.modules.len();
        self.modules.push(Module { file: file.to_owned(), parent, ..Module::default() });
        let outer = std::mem::replace(&mut self.current, module);
        items.iter().for_each(|item| self.visit_item(item));
        self.current = outer;
        module
    }

    fn here(&mut self) -> &mut Module {
        &mut self.modules[self.current]
    }

    fn declare(&mut self, name: String, what: Name) {
        self.here().names.entry(name).or_default().push(what);
    }

    fn mention(&mut self, path: Path, line: usize, kind: Kind) {
        self.here().mentions.push(Mention { path, line, kind });
    }

    fn uses(&mut self, tree: &UseTree, prefix: &Path, kind: Kind) {
        match tree {
            UseTree::Path(path) => self.uses(&path.tree, &joined(prefix, &path.ident), kind),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.uses(tree, prefix, kind)),
            UseTree::Glob(glob) => {
                self.here().globs.push(prefix.clone());
                self.mention(prefix.clone(), line(glob.star_token.spans[0]), kind);
            }
            UseTree::Name(name) => {
                let path = joined(prefix, &name.ident);
                let declared = path.last().cloned().unwrap_or_default();
                self.declare(declared, Name::Alias(path.clone()));
                self.mention(path, line(name.ident.span()), kind);
            }
            UseTree::Rename(rename) => {
                let path = joined(prefix, &rename.ident);
                self.declare(rename.rename.to_string(), Name::Alias(path.clone()));
                self.mention(path, line(rename.ident.span()), kind);
            }
        }
    }

    /// The paths among the tokens of a macro. A single name in small letters may be anything there, and is left out.
    fn tokens(&mut self, tokens: TokenStream, prefix: &Path) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = tokens.as_slice();
        while let [token, after @ ..] = rest {
            rest = after;
            match token {
                TokenTree::Ident(first) => rest = self.token_path(first, after, prefix),
                TokenTree::Group(group) => self.tokens(group.stream(), &Path::new()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    /// Reads one path that begins with `first`, and returns the tokens behind it.
    fn token_path<'t>(&mut self, first: &Ident, mut rest: &'t [TokenTree], prefix: &Path) -> &'t [TokenTree] {
        let mut path = prefix.clone();
        path.push(first.to_string());
        while let [colon, second, TokenTree::Ident(next), after @ ..] = rest
            && is_colon(colon)
            && is_colon(second)
        {
            path.push(next.to_string());
            rest = after;
        }
        match rest {
            [colon, second, TokenTree::Group(list), after @ ..] if is_colon(colon) && is_colon(second) => {
                self.tokens(list.stream(), &path);
                after
            }
            _ => {
                if path.len() > 1 || first.to_string().starts_with(char::is_uppercase) {
                    self.mention(path, line(first.span()), Kind::Code);
                }
                rest
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_for_tests) {
            return;
        }
        if let Some(ident) = name(item) {
            self.declare(ident.to_string(), Name::Item);
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let name = module.ident.to_string();
        let below = format!("{}/{name}", self.folder);
        let outer = std::mem::replace(&mut self.folder, below.clone());
        let (parent, file) = (self.current, self.here().file.clone());
        let child = match &module.content {
            Some((_, items)) => self.module(&file, parent, items),
            None => self.file(&format!("{below}.rs"), parent),
        };
        self.folder = outer;
        self.declare(name, Name::Module(child));
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // With a leading `::` it is another crate's.
        if item.leading_colon.is_none() {
            let private = matches!(item.vis, Visibility::Inherited);
            self.uses(&item.tree, &Path::new(), if private { Kind::Import } else { Kind::ReExport });
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !attributes.iter().any(is_for_tests) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let at = path.segments.first().map_or(0, |segment| line(segment.ident.span()));
            let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.mention(segments, at, Kind::Code);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone(), &Path::new());
    }

    fn visit_signature(&mut self, signature: &'ast Signature) {
        if let Some(keyword) = &signature.asyncness {
            self.here().asynchronous.push(line(keyword.span));
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, block: &'ast ExprAsync) {
        self.here().asynchronous.push(line(block.async_token.span));
        visit::visit_expr_async(self, block);
    }

    fn visit_expr_await(&mut self, wait: &'ast ExprAwait) {
        self.here().asynchronous.push(line(wait.await_token.span));
        visit::visit_expr_await(self, wait);
    }

    /// Doc comments are attributes, too.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    /// `pub(in path)` says who may see an item, not what it needs.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}
}

/// Where the children of the module in this root file have their files.
fn folder(root: &str) -> &str {
    root.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn line(span: Span) -> usize {
    span.start().line
}

/// The path to `name` in a list behind `prefix`: `prefix::{self}` names the prefix itself.
fn joined(prefix: &Path, name: &Ident) -> Path {
    let mut path = prefix.clone();
    if path.is_empty() || name != "self" {
        path.push(name.to_string());
    }
    path
}

fn is_colon(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':')
}

/// `#[cfg(test)]` or `#[cfg(doctest)]`. Code of the feature `testing` is code that others compile.
fn is_for_tests(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else { return false };
    list.path.is_ident("cfg") && matches!(list.tokens.to_string().as_str(), "test" | "doctest")
}

/// The name that an item declares. Modules and `use` are handled by their own visits.
fn name(item: &Item) -> Option<&Ident> {
    match item {
        Item::Const(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Fn(item) => Some(&item.sig.ident),
        Item::Macro(item) => item.ident.as_ref(),
        Item::Static(item) => Some(&item.ident),
        Item::Struct(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
