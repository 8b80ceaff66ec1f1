//! Several arguments as a tuple.

use serde::Serialize;

use super::super::error::{ArgsError, EncodeError};
use super::decode::{FromArg, FromArgs};
use super::encode::{ArgsWriter, IntoArgs};
use super::raw::{RawArg, RawArgs};

/// Several arguments: `Args((a, b))` is sent as `["event", a, b]`. A bare tuple would be one argument, an array.
///
/// Tuples may have up to eight elements; an element may be a [`RawArg`]. When decoding, arguments that were not sent are
/// `null`, so make the last ones `Option`. Arguments beyond the tuple are ignored.
///
/// ```
/// use socketmesh::socket::{Args, RawArgs};
///
/// let args = RawArgs::encode(&Args(("left", 2)))?;
/// assert_eq!(args.json(), r#""left",2"#);
/// let Args((side, by, why)) = args.decode::<Args<(String, u8, Option<String>)>>()?;
/// assert_eq!((side.as_str(), by, why), ("left", 2, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Args<T>(pub T);

macro_rules! args_of_tuples {
    ($($index:tt $name:ident),+) => {
        impl<$($name: FromArg),+> FromArgs for Args<($($name,)+)> {
            fn from_args(args: &RawArgs) -> Result<Self, ArgsError> {
                let mut args = args.iter();
                Ok(Self(($($name::from_arg(args.next().unwrap_or_else(RawArg::missing), $index)?,)+)))
            }
        }

        impl<$($name: Serialize),+> IntoArgs for Args<($($name,)+)> {
            fn encode_args(&self, out: &mut ArgsWriter) -> Result<(), EncodeError> {
                $(out.value(&self.0.$index)?;)+
                Ok(())
            }
        }
    };
}

args_of_tuples!(0 A);
args_of_tuples!(0 A, 1 B);
args_of_tuples!(0 A, 1 B, 2 C);
args_of_tuples!(0 A, 1 B, 2 C, 3 D);
args_of_tuples!(0 A, 1 B, 2 C, 3 D, 4 E);
args_of_tuples!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F);
args_of_tuples!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G);
args_of_tuples!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H);
