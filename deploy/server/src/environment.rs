//! What the environment tells the program: values with spaces around them, and names that may be mistyped.

use std::convert::Infallible;
use std::str::FromStr;

use clap::CommandFactory;

/// Refuses a variable that begins like those of the program and is none of them: it would be ignored, and the node would not
/// be what it should be.
///
/// # Errors
/// Names the variable, and the nearest one that there is.
pub(crate) fn check<C: CommandFactory>(names: impl IntoIterator<Item = String>) -> Result<(), String> {
    let command = C::command();
    let arguments = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let variables = arguments.filter_map(|argument| argument.get_env()?.to_str());
    let known: Vec<&str> = variables.chain(SECRETS).collect();
    let concerns_it = |name: &String| name.starts_with(PREFIX) && !name.starts_with(OF_TESTS);
    let names: Vec<_> = names.into_iter().filter(concerns_it).collect();
    let is_unknown = |name: &&String| !known.contains(&name.as_str()) && !is_of_kubernetes(name, &names);
    let Some(unknown) = names.iter().find(is_unknown) else { return Ok(()) };
    let nearest = known.iter().min_by_key(|known| distance(known, unknown)).unwrap_or(&PREFIX);
    Err(format!("there is no variable {unknown}; is {nearest} meant?"))
}

/// Kubernetes tells every container about the services of its namespace, one of which may be called `socketmesh`.
fn is_of_kubernetes(name: &str, all: &[String]) -> bool {
    let services = all.iter().filter_map(|name| name.strip_suffix("_SERVICE_HOST"));
    let rests = services.filter_map(|service| name.strip_prefix(service));
    rests.into_iter().any(|rest| rest.starts_with("_SERVICE_") || rest.starts_with("_PORT"))
}

/// How many characters have to be changed, added or removed (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, a) in one.bytes().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        let mut next = vec![left];
        for (b, above) in other.bytes().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(a != b)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// A value without the spaces around it: files of variables may end their lines with a carriage return.
pub(crate) fn trimmed<T: FromStr>(said: &str) -> Result<T, T::Err> {
    said.trim().parse()
}

/// The same for a text.
pub(crate) fn text(said: &str) -> Result<String, Infallible> {
    trimmed(said)
}

/// A switch, in the usual spellings. One that is empty is off.
pub(crate) fn switch(said: &str) -> Result<bool, String> {
    match said.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true),
        "false" | "f" | "no" | "n" | "off" | "0" | "" => Ok(false),
        _ => Err("true or false, yes or no, on or off, 1 or 0".to_owned()),
    }
}

const PREFIX: &str = "SOCKETMESH_";
/// Variables of the test kit: who tests an application may run the program beside it.
const OF_TESTS: &str = "SOCKETMESH_TEST_";
/// The variables that are no flags.
const SECRETS: [&str; 6] = [
    "SOCKETMESH_ADMIN_TOKEN",
    "SOCKETMESH_ADMIN_TOKEN_FILE",
    "SOCKETMESH_SECRET",
    "SOCKETMESH_SECRET_FILE",
    "SOCKETMESH_SECRET_ALSO",
    "SOCKETMESH_SECRET_ALSO_FILE",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;

    fn refused(names: &[&str]) -> Option<String> {
        check::<Cli>(names.iter().map(ToString::to_string)).err()
    }

    #[test]
    fn a_mistyped_variable_is_named_with_the_right_one() {
        for (wrong, right) in [
            ("SOCKETMESH_SEEDS", "SOCKETMESH_SEED"),
            ("SOCKETMESH_MSEH", "SOCKETMESH_MESH"),
            ("SOCKETMESH_PINGINTERVAL", "SOCKETMESH_PING_INTERVAL"),
            ("SOCKETMESH_SECRET_FLIE", "SOCKETMESH_SECRET_FILE"),
            ("SOCKETMESH_ADVERTISED", "SOCKETMESH_ADVERTISE"),
        ] {
            let said = refused(&["SOCKETMESH_HTTP", wrong]).unwrap();
            assert!(said.contains(wrong) && said.contains(&format!("is {right} meant")), "{said}");
        }
    }

    #[test]
    fn variables_of_the_program_and_of_others_are_none_of_its_business() {
        let fine = ["SOCKETMESH_SEED", "SOCKETMESH_SECRET", "SOCKETMESH_CLIENT_DIR", "PATH", "SOCKET_MESH"];
        assert_eq!(refused(&fine), None);
        assert_eq!(refused(&["SOCKETMESH_TEST_SEED"]), None, "those of the test kit");
        let service = [
            "SOCKETMESH_SERVICE_HOST",
            "SOCKETMESH_SERVICE_PORT_HTTP",
            "SOCKETMESH_PORT",
            "SOCKETMESH_PORT_3000_TCP_ADDR",
            "SOCKETMESH_NODES_SERVICE_HOST",
            "SOCKETMESH_NODES_PORT_7946_UDP",
        ];
        assert_eq!(refused(&service), None, "those of a Kubernetes service");
        assert!(refused(&["SOCKETMESH_PORT"]).is_some(), "there is no such service");
    }

    #[test]
    fn a_switch_has_the_usual_spellings() {
        for on in ["true", "TRUE", " yes", "on\r", "1", "y"] {
            assert_eq!(switch(on), Ok(true), "{on:?}");
        }
        for off in ["false", "No", "off ", "0", "", " "] {
            assert_eq!(switch(off), Ok(false), "{off:?}");
        }
        assert!(switch("enabled").is_err());
    }
}
