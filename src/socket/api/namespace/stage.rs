//! How far the description of a namespace has come, for the compiler.

/// A [`Namespace`](super::Namespace) without handlers, whose [`auth`](super::Namespace::auth) may be given: what
/// [`namespace`](super::namespace) returns.
#[derive(Debug, Clone, Copy)]
pub enum BeforeHandlers {}

/// A [`Namespace`](super::Namespace) of which is settled what its sockets carry, and that may have handlers: every one that has an
/// `auth` or a handler.
#[derive(Debug, Clone, Copy)]
pub enum WithHandlers {}

/// A stage in which [`auth`](super::Namespace::auth) may be given: [`BeforeHandlers`], and nothing else.
#[diagnostic::on_unimplemented(
    message = "`auth` and `login` come first, before all handlers and settings of the namespace, and once",
    label = "this comes too late",
    note = "it sets the type of the data that sockets carry, which handlers name: `namespace(path).auth(…).on(…)`"
)]
pub trait NoHandlersYet: sealed::Sealed {}

impl NoHandlersYet for BeforeHandlers {}

mod sealed {
    #[expect(unnameable_types, reason = "it seals the trait")]
    pub trait Sealed {}

    impl Sealed for super::BeforeHandlers {}
}
