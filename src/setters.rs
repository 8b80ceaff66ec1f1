//! Chained setters: the one way to change the settings of a config.

/// Gives a config a setter for each field, named like the field. `into` makes the setter take what converts to the type.
macro_rules! setters {
    ($config:ident { $($fields:tt)* }) => {
        impl $config {
            $crate::setters::setters!(@ $($fields)*);
        }
    };
    (@ $field:ident: into $kind:ty, $($rest:tt)*) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, value: impl Into<$kind>) -> Self {
            self.$field = value.into();
            self
        }
        $crate::setters::setters!(@ $($rest)*);
    };
    (@ $field:ident: $kind:ty, $($rest:tt)*) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, value: $kind) -> Self {
            self.$field = value;
            self
        }
        $crate::setters::setters!(@ $($rest)*);
    };
    (@) => {};
}

pub(crate) use setters;
