//! What an application keeps at one socket, by type.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;

/// One value of each type.
#[derive(Default)]
pub(crate) struct OwnState(Vec<(TypeId, Arc<dyn Any + Send + Sync>)>);

impl OwnState {
    /// The value of that type, if there is one.
    pub(crate) fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let found = self.0.iter().find(|(kind, _)| *kind == TypeId::of::<T>());
        found.and_then(|(_, value)| Arc::clone(value).downcast().ok())
    }

    /// Keeps a value unless somebody was quicker; returns the one that is kept.
    pub(crate) fn get_or_keep<T: Any + Send + Sync>(&mut self, value: Arc<T>) -> Arc<T> {
        self.get().unwrap_or_else(|| {
            self.0.push((TypeId::of::<T>(), Arc::clone(&value) as _));
            value
        })
    }
}

impl fmt::Debug for OwnState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnState").field(&self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_value_of_each_type_and_the_first_one_stays() {
        let mut own = OwnState::default();
        assert!(own.get::<u8>().is_none());
        assert_eq!(*own.get_or_keep(Arc::new(1_u8)), 1);
        assert_eq!(*own.get_or_keep(Arc::new(2_u8)), 1);
        assert_eq!(*own.get_or_keep(Arc::new("text")), "text");
        assert_eq!(own.get::<u8>().as_deref(), Some(&1));
    }
}
