//! Values by path that live only as long as something outside the map holds them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// Finds a value by its path while anything holds it, so that everybody who names the path has the same value.
#[derive(Debug)]
pub(crate) struct WeakMap<T>(Mutex<HashMap<Arc<str>, Weak<T>>>);

impl<T> WeakMap<T> {
    /// The value with this path, if anything holds it.
    pub(crate) fn get(&self, path: &str) -> Option<Arc<T>> {
        self.0.lock().get(path)?.upgrade()
    }

    /// All values that something holds.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.0.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// The value with this path, or else a new one. `make` runs while the map is locked.
    pub(crate) fn get_or_insert(&self, path: &Arc<str>, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        let mut values = self.0.lock();
        if let Some(value) = values.get(path).and_then(Weak::upgrade) {
            return value;
        }
        let value = make();
        values.insert(Arc::clone(path), Arc::downgrade(&value));
        value
    }

    /// The paths that are not free.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn paths(&self) -> Vec<String> {
        self.0.lock().keys().map(ToString::to_string).collect()
    }

    /// Removes a path whose value is dropped. Every value calls this when it is. There may be another value with its
    /// path by then, which stays.
    pub(crate) fn forget(&self, path: &str) {
        let mut values = self.0.lock();
        if values.get(path).is_some_and(|value| value.strong_count() == 0) {
            values.remove(path);
        }
    }
}

impl<T> Default for WeakMap<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_until_nothing_holds_it_and_its_path_is_free_again() {
        let map = WeakMap::default();
        let path: Arc<str> = "/a".into();
        let first = map.get_or_insert(&path, || Arc::new(1));
        assert_eq!(map.get_or_insert(&path, || Arc::new(2)), first);
        drop(first);
        assert_eq!(map.get(&path), None);
        let second = map.get_or_insert(&path, || Arc::new(2));
        map.forget(&path);
        assert_eq!(map.get(&path).as_ref(), Some(&second), "the path has another value by now");
        drop(second);
        map.forget(&path);
        assert!(map.0.lock().is_empty());
    }
}
