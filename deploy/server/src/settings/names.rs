//! Names that may be mistyped.

use clap::Command;

/// Refuses a variable that begins like those of the program and is none of them: it would be ignored, and the node would not
/// be what it should be.
///
/// # Errors
/// Names the variable, and the nearest one that there is.
pub(crate) fn check_variables(
    command: &Command,
    names: impl IntoIterator<Item = String>,
) -> Result<(), String> {
    let arguments = command.get_subcommands().flat_map(Command::get_arguments);
    let variables = arguments.filter_map(|argument| argument.get_env()?.to_str());
    let known: Vec<&str> = variables.chain(SECRETS).collect();
    let concerns_it = |name: &String| name.starts_with(PREFIX) && !name.starts_with(OF_TESTS);
    let names: Vec<_> = names.into_iter().filter(concerns_it).collect();
    let is_unknown = |name: &&String| !known.contains(&name.as_str()) && !is_of_kubernetes(name, &names);
    let Some(unknown) = names.iter().find(is_unknown) else { return Ok(()) };
    let nearest = nearest(unknown, known.into_iter()).unwrap_or(PREFIX);
    Err(format!("there is no variable {unknown}; is {nearest} meant?"))
}

/// The name that is most like another.
pub(super) fn nearest<'a>(unknown: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names.min_by_key(|name| strsim::levenshtein(name, unknown))
}

/// Kubernetes tells every container about the services of its namespace, one of which may be called `socketmesh`.
fn is_of_kubernetes(name: &str, all: &[String]) -> bool {
    let services = all.iter().filter_map(|name| name.strip_suffix("_SERVICE_HOST"));
    let rests = services.filter_map(|service| name.strip_prefix(service));
    rests.into_iter().any(|rest| rest.starts_with("_SERVICE_") || rest.starts_with("_PORT"))
}

const PREFIX: &str = "SOCKETMESH_";
/// Variables of the test kit: who tests an application may run the program beside it.
const OF_TESTS: &str = "SOCKETMESH_TEST_";
/// The variables that are no flags.
const SECRETS: [&str; 3] = ["SOCKETMESH_ADMIN_TOKEN", "SOCKETMESH_SECRET", "SOCKETMESH_SECRET_ALSO"];

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Cli;

    fn refused(names: &[&str]) -> Option<String> {
        check_variables(&Cli::command(), names.iter().map(ToString::to_string)).err()
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
        assert_eq!(refused(&service), None, "what Kubernetes says of services");
        assert!(refused(&["SOCKETMESH_PORT"]).is_some(), "without such a service");
    }
}
