//! `runyard --help`: the commands in groups, examples, exit codes.

use crate::exit::EXIT_CODES;
use clap::Command;
use std::fmt::Write;

const GROUPS: [(&str, &[&str]); 4] = [
    ("Serve", &["dev", "serve"]),
    ("Call", &["run", "runs", "files"]),
    ("Manage", &["apps", "keys"]),
    ("Try and measure", &["exec", "openapi", "bench", "chaos"]),
];

const EXAMPLES: &str = "  runyard                                       serve ./apps on http://127.0.0.1:8787
  runyard run ticket-triage --input @apps/ticket-triage/sample-input.json
  runyard runs list --status failed
  runyard exec workflow.yaml --input '{\"question\": \"why?\"}'";

/// Sets the help template: clap itself neither groups subcommands nor shows examples and exit codes.
pub(super) fn describe(command: Command) -> Command {
    let heading = command.get_styles().get_header();
    let literal = command.get_styles().get_literal();
    let mut text = String::from("{about-with-newline}\n{usage-heading} {usage}\n");
    for (group, names) in GROUPS {
        let _ = write!(text, "\n{heading}{group}:{heading:#}\n");
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {literal}{name:<9}{literal:#} {about}");
        }
    }
    let _ = write!(
        text,
        "\n{heading}Options:{heading:#}\n{{options}}\n\n{heading}Examples:{heading:#}\n{EXAMPLES}\n\n\
         {heading}Exit codes:{heading:#}\n{EXIT_CODES}\n\n\
         `runyard COMMAND --help` has every option. Options whose help names a variable can be set in the environment.\n",
    );
    command.disable_help_subcommand(true).help_template(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn help_names_every_command_in_one_group() {
        let command = describe(crate::cli::Cli::command());
        command.clone().debug_assert();
        let mut commands: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        let mut grouped: Vec<_> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        commands.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(commands, grouped);
    }
}
